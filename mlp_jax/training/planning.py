"""The runs of a sweep before any is trained: their configurations, their examples, and which share a program."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from mlp_jax.errors import InputError
from mlp_jax.tables.preparation import Prepared
from mlp_jax.training.build import program_of, read, require_suited, resolve, wanted
from mlp_jax.training.config import Config, choices, members
from mlp_jax.training.progress import Reporter

_MOST_BYTES = 2**29  # of examples beyond which those of another run take their place


class Member(NamedTuple):
    """One run of a sweep.

    Attributes:
        number: of its folder: of the seed or the fold where nothing else varies.
        varied: its values of the keys that vary.
        asked: its configuration as it was given.
        config: the same, resolved.
        program: what of it is compiled.
    """

    number: int
    varied: dict[str, Any]
    asked: Config
    config: Config
    program: Config


class Sources:
    """The examples of one run after another; those that differ in nothing that reading looks at are read once."""

    def __init__(self, examples: Any, report: Reporter) -> None:
        self._examples, self._report = examples, report
        self._said: set[str] = set()
        self._kept: list[tuple[Any, Prepared]] = []

    def of(self, asked: Config) -> Prepared:
        """The examples of a configuration that is not resolved."""
        wants = wanted(asked)
        prepared = next((prepared for others, prepared in self._kept if others == wants), None)
        if prepared is None:
            if sum(_bytes(kept) for _, kept in self._kept) > _MOST_BYTES:
                self._kept.clear()  # they are read again
            given = self._examples
            prepared = given if isinstance(given, Prepared) else read(asked, given, self._report)
            self._kept.append((wants, prepared))
        require_suited(asked, prepared)
        for finding in dict.fromkeys(prepared.said):
            if finding not in self._said:
                self._said.add(finding)
                self._report.say(finding)
        return prepared


def _bytes(prepared: Prepared) -> int:
    """In memory: of a file there are none."""
    return sum(getattr(values, "nbytes", 0) for examples in prepared.parts.values() for values in examples)


def planned(config: Config, sources: Sources) -> list[Member]:
    """The runs, in the order of the values."""
    _, numbers = config.several or ("", ())
    found = []
    runs = members(config)
    _require_own_caches(runs)
    for number, varied, asked in zip(numbers, choices(config.axes), runs, strict=True):
        with named(config, varied):
            resolved = resolve(asked, sources.of(asked))
        found.append(Member(number, varied, asked, resolved, program_of(resolved)))
    return found


def _require_own_caches(runs: list[Config]) -> None:
    """Raise an InputError if runs of different examples name one cache."""
    kept: dict[Any, Any] = {}
    for run in runs:
        cache = getattr(run.data, "cache", None)
        if cache and kept.setdefault(cache, wanted(run)) != wanted(run):
            raise InputError(
                f"data.cache: {cache} holds one set of examples, and the runs of this sweep have several: leave "
                "it out, or train them apart"
            )


def by_program(runs: list[Member]) -> list[list[Member]]:
    """Those of one program together."""
    groups: list[list[Member]] = []
    for member in runs:
        same = next((group for group in groups if group[0].program == member.program), None)
        if same is None:
            groups.append([member])
        else:
            same.append(member)
    return groups


@contextmanager
def named(config: Config, varied: dict[str, Any]) -> Iterator[None]:
    """An error says of which run it is, where that is not clear."""
    try:
        yield
    except InputError as error:
        run = ", ".join(f"{key}={value}" for key, value in varied.items())
        raise InputError(f"{run}: {error}" if config.sweep else str(error)) from None
