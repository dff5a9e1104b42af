"""Strict records: of configurations, of what is read back, and made from the arguments of what they configure."""

from collections.abc import Callable, Iterable, Mapping
from inspect import signature
from typing import Annotated, Any, Literal, Self, get_type_hints

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, create_model, model_validator

from mlp_jax.errors import InputError

_LONGEST = 200  # letters of a place or a message
LARGEST = 2**31 - 1  # what an int32 holds, as optax and XLA count
Count = Annotated[int, Field(ge=1, le=LARGEST)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Index = Annotated[int, Field(ge=0, le=LARGEST)]


class Section(BaseModel):
    """Immutable; an unknown key or a value of another type is an error."""

    # defer_build: a section is built once, within the whole configuration, and not alone before
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, defer_build=True)

    @classmethod
    def of_json(cls, text: str | bytes, where: str) -> Self:
        """The section in a text of JSON, whose depth and digits are limited; `where` it stands is for the message.

        Raises:
            InputError: it is none, with the place in it.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            place = "".join(f"{part}: " for part in [".".join(map(str, first["loc"]))[:_LONGEST]] if part)
            raise InputError(f"cannot read {where}: {place}{first['msg'][:_LONGEST]}") from None

    def given(self, without: str = "") -> dict[str, Any]:
        """The keys that are set, as arguments: what takes them has defaults for the others."""
        return {key: value for key, value in self if value is not None and key != without}


def one_of(names: Iterable[str]) -> Any:
    """One of these words."""
    return Literal[tuple(names)]


def either(word: Any, kind_of_section: Any, section: Any) -> Any:
    """A value of one kind or of another, told apart before either is checked, so that an error speaks of one."""
    return Annotated[
        Annotated[word, Tag("a value")] | Annotated[section, Tag("a section")],
        Discriminator(lambda value: "a section" if isinstance(value, kind_of_section) else "a value"),
    ]


def one_or_each(kind: Any) -> Any:
    """One value for all layers, or a list with one for each."""
    return either(kind, tuple, tuple[kind, ...])


def variants(tag: str, table: dict[str, dict[str, Any]], base: type[Section] = Section, **shared: Any) -> Any:
    """A union of sections told apart by the key `tag`; arguments without a default are required."""
    sections: list[type[Section]] = []
    for name, arguments in table.items():
        fields: dict[str, Any] = {tag: (Literal[name], ...), **shared}
        for key, kind in arguments.items():
            fields[key] = kind if isinstance(kind, tuple) else (kind | None, None)
        sections.append(create_model(name, __base__=base, **fields))
    union: Any = sections[0]
    for section in sections[1:]:
        union |= section
    return Annotated[union, Field(discriminator=tag)]


def name_or_section(names: Iterable[str], makers: Mapping[str, Callable[..., Any]]) -> Any:
    """A name, or a section with `name` and the arguments of its maker, which also checks their values."""

    class Made(Section):
        @model_validator(mode="after")
        def _maker_takes_it(self) -> Self:
            makers[self.name](**self.given(without="name"))  # type: ignore[attr-defined]
            return self

    table = {name: arguments for name in makers if (arguments := _arguments_of(makers[name]))}
    plain = create_model("plain", __base__=Section, name=(one_of(name for name in names if name not in table), ...))
    section: Any = Annotated[plain | variants("name", table, Made), Field(discriminator="name")]
    return either(one_of(names), dict | Section, section)


def _arguments_of(make: Callable[..., Any]) -> dict[str, Any]:
    """The names of a maker's arguments with their types."""
    types = get_type_hints(make)
    return {name: types[name] for name in signature(make).parameters}
