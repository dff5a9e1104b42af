"""Where examples come from: a record of a configuration's `data` section for each kind of source, and how it is read.

To add a source, write its record here, in the union `Data`, too, and what reads it in a file of its own.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from mlp_jax.errors import InputError
from mlp_jax.sections import Count, Fraction, Index, Section, Seed, either, one_or_each

if TYPE_CHECKING:
    from mlp_jax.tables.reading import Table
    from mlp_jax.tables.text import Dialect

_Path = Annotated[Path, Field(strict=False)]


def _as_text(value: Any) -> Any:
    """A number in the place of a word, as in a header of numbers: 3 is "3", and 999999.0 is "999999"."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:.0f}" if float(value).is_integer() else repr(value)
    return value


def _as_texts(values: Any) -> Any:
    return tuple(map(_as_text, values if isinstance(values, tuple | list) else [values]))


_Name = Annotated[str, BeforeValidator(_as_text)]
_Names = Annotated[tuple[str, ...], BeforeValidator(_as_texts)]
_FOLDS = Annotated[int, Field(ge=2, le=1000)]


class Split(Section):
    """Fractions of the examples held out, drawn by a permutation from the seed; the rest is for training."""

    validation: Fraction = 0.15  # of the examples; 0 for none
    test: Fraction = 0.15  # likewise
    seed: Seed = 0  # of the drawing

    @field_validator("test")
    @classmethod
    def _something_left(cls, test: Any, info: ValidationInfo) -> Any:
        validation = info.data.get("validation", 0)
        if not isinstance(test, Path) and not isinstance(validation, Path) and validation + test >= 1:
            raise ValueError(f"validation + test must be below 1, got {validation} + {test}")
        return test

    @property
    def fractions(self) -> dict[str, float]:
        """Of the examples that are held out; not of those that a file holds."""
        parts = {"validation": self.validation, "test": self.test}
        return {part: value for part, value in parts.items() if isinstance(value, float | int)}

    @property
    def files(self) -> dict[str, Path]:
        """Those that hold a part."""
        return {}

    @property
    def has_validation(self) -> bool:
        """Whether there may be a validation part."""
        return bool(self.validation)


_FractionOrFile: Any = either(Fraction, str | Path, _Path)


class TableSplit(Split):
    """Of a table also by files, by a column, by groups, by time, or in folds."""

    validation: _FractionOrFile = 0.15  # of the examples, or a file that holds them; 0 for none
    test: _FractionOrFile = 0.15  # likewise
    stratify: bool | None = None  # the same share of each class in each part; by default where there are classes
    column: _Name | None = None  # that says train, validation or test
    groups: _Name | None = None  # a column no value of which is in two parts
    time: _Name | None = None  # a column of dates or numbers: the last are for the test
    folds: _FOLDS | None = None  # each of so many parts is the test part once
    fold: Index | None = None  # which of them: of the trainings that folds make

    @property
    def files(self) -> dict[str, Path]:
        parts = {"validation": self.validation, "test": self.test}
        return {part: value for part, value in parts.items() if isinstance(value, Path)}

    @property
    def has_validation(self) -> bool:
        return bool(self.validation) or self.column is not None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        given = [key for key in ("column", "groups", "time") if getattr(self, key) is not None]
        if len(given) > 1:
            raise ValueError(f"give one of column, groups, time; got {' and '.join(given)}")
        if self.folds and (self.column or self.time or self.files):
            raise ValueError("folds are drawn at random, or of groups: leave column, time and files out")
        if self.stratify and given:
            raise ValueError(f"stratify is for parts that are drawn at random; got {given[0]}, too")
        return self


class Source(Section):
    """A source of examples.

    Attributes:
        where: the keys that say where the data are, and not what: moved data are the same data.
    """

    where: ClassVar[tuple[str, ...]] = ()
    split: Split = Split()  # who is held out
    standardize_inputs: bool | Literal["robust"] = True  # by mean and standard deviation of the training examples
    standardize_targets: bool | None = None  # results are in the original units all the same

    @property
    def files(self) -> dict[str, Any]:
        """Where the data are, by key."""
        return {key: getattr(self, key) for key in self.where}

    @property
    def folds(self) -> int:
        """How many trainings its folds make; 0 where it makes one."""
        return 0

    def read(self, arrays: Any = None) -> "Table":
        """The examples, unchecked; of `arrays`, those that were given in Python.

        Raises:
            InputError: a file is missing or malformed.
        """
        raise NotImplementedError


class Arrays(Source):
    """Arrays of numbers."""

    standardize_inputs: bool = True  # by mean and standard deviation of the training examples
    standardize_targets: bool = False  # results are in the original units all the same


class SklearnData(Arrays):
    """A data set that scikit-learn brings along."""

    # which set
    source: Literal["breast_cancer", "diabetes", "digits", "iris", "linnerud", "wine"]

    def read(self, arrays: Any = None) -> "Table":
        from mlp_jax.tables.bundled import read_bundled

        return read_bundled(self.source)


class Columns(Source):
    """A table with named columns of any kind."""

    target: one_or_each(_Name)  # type: ignore[valid-type]  # the column that is predicted, or several
    inputs: _Names | None = None  # by default all columns that are nothing else
    drop: _Names = ()  # columns that are no inputs
    # what a column is, in place of what it looks like: a kind, or a format of dates such as "%d/%m/%Y"
    columns: dict[str, Annotated[str, Field(pattern="^(number|boolean|category|date|drop)$|%")]] = {}  # noqa: RUF012
    weights: _Name | None = None  # a column: how often an example counts
    missing: _Names | None = None  # what stands in a cell that is missing, beside the usual words of text files, as NA
    not_missing: _Names | None = None  # those of the usual words that mean something here
    min_count: Count = 3  # fewer examples make a category a rare one
    split: TableSplit = TableSplit()  # who is held out
    standardize_inputs: bool | Literal["robust"] = True  # robust: by median and quartiles, clipped smoothly
    standardize_targets: bool | None = None  # by default where the output is a quantity

    @field_validator("target")
    @classmethod
    def _different(cls, target: Any) -> Any:
        if isinstance(target, tuple) and len(set(target)) != max(1, len(target)):
            raise ValueError(f"must name one column or several different ones; got {list(target)}")
        return target

    @property
    def folds(self) -> int:
        return (self.split.folds or 0) if self.split.fold is None else 0

    @property
    def targets(self) -> tuple[str, ...]:
        """The names of the target columns."""
        return self.target if isinstance(self.target, tuple) else (self.target,)

    @property
    def not_inputs(self) -> dict[str, str]:
        """Columns that have another use, by its key."""
        split = self.split
        used = {"data.weights": self.weights, "data.split.column": split.column, "data.split.groups": split.groups}
        return {name: key for key, name in used.items() if name is not None}


class TableData(Columns):
    """Files of a table: CSV and its relatives, Parquet, Feather, JSON; one, several, or a pattern as part-*.csv."""

    where = ("path", "cache")
    source: Literal["csv", "parquet", "feather", "json"]  # found from the name of the file
    path: one_or_each(_Path)  # type: ignore[valid-type]  # a file, several, or a pattern; from this file's folder
    cache: _Path | None = None  # a folder for the examples, encoded: they are trained on from there, and not in memory
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None  # by default found from the header
    decimal: Literal[".", ","] | None = None  # by default a point, or where cells look so, a comma
    quote: Annotated[str, Field(min_length=1, max_length=1)] = '"'  # around cells with a delimiter in them
    encoding: str | None = None  # by default UTF-8

    @model_validator(mode="after")
    def _can_be_kept(self) -> Self:
        if self.cache and self.split.folds:
            raise ValueError("cache holds the parts of one split: leave split.folds out, or cache")
        if self.cache and self.source == "json":
            raise ValueError("cache is for files that are read in blocks, and JSON is not: write it as Parquet or CSV")
        return self

    @property
    def dialect(self) -> "Dialect":
        """How cells are written."""
        from mlp_jax.tables.text import MISSING, Dialect

        coded, meant = self.missing or (), self.not_missing or ()
        words = (*(word for word in MISSING if word not in meant), *coded)
        return Dialect(self.delimiter, self.decimal, self.quote, self.encoding, words, coded, self.targets)

    @property
    def paths(self) -> tuple[Path, ...]:
        """Files and patterns."""
        return self.path if isinstance(self.path, tuple) else (self.path,)

    @property
    def files(self) -> dict[str, Any]:
        return {**super().files, **{f"split.{part}": path for part, path in self.split.files.items()}}


class FrameData(Columns):
    """A data frame that `mlp_jax.training.fit` is given in Python."""

    source: Literal["frame"]  # found


class NPZData(Arrays):
    """Two arrays of one .npz file."""

    where = ("path", "x", "y")
    source: Literal["npz"]  # found from the name of the file
    path: Path = Field(strict=False)  # from this file's folder
    x: str = "x"  # the name of the array of inputs
    y: str = "y"  # likewise of targets

    def read(self, arrays: Any = None) -> "Table":
        from mlp_jax.tables.reading import read_npz

        return read_npz(self.path, self.x, self.y)


class NPYData(Arrays):
    """Two .npy files."""

    where = ("x", "y")
    source: Literal["npy"]  # of two files
    x: Path = Field(strict=False)  # the file of inputs
    y: Path = Field(strict=False)  # of targets

    def read(self, arrays: Any = None) -> "Table":
        from mlp_jax.tables import npy
        from mlp_jax.tables.reading import Table

        return Table(f"{self.x} with {self.y}", npy.load(self.x), npy.load(self.y))


class ArrayData(Arrays):
    """Arrays x and y that `mlp_jax.training.fit` is given in Python."""

    source: Literal["arrays"]  # found

    def read(self, arrays: Any = None) -> "Table":
        from mlp_jax.tables.reading import Table, as_array

        if arrays is None:
            raise InputError(
                "data.source is arrays: they were given in Python, by mlp_jax.training.fit(config, (x, y)), and are in "
                "no file; give them again there"
            )
        if not isinstance(arrays, tuple | list) or len(arrays) != 2:
            raise InputError(f"data must be a pair of arrays (x, y), got {type(arrays).__name__}")
        return Table("the arrays", as_array("the inputs x", arrays[0]), as_array("the targets y", arrays[1]))


def _with_source(section: Any) -> Any:
    """Where it is not said, what kind of source it is follows from the name of the file, or from the keys."""
    if not isinstance(section, dict) or "source" in section:
        return section
    path = section.get("path")
    first = path[0] if isinstance(path, tuple) and path else path
    if isinstance(first, str | Path):
        from mlp_jax.tables.files import kind_of

        numpy = str(first).endswith(".npz")
        return {**section, "source": "npz" if numpy else kind_of(first) or "csv"}
    return section


Data = Annotated[
    SklearnData | TableData | NPZData | NPYData | ArrayData | FrameData,
    Field(discriminator="source"),
    BeforeValidator(_with_source),
]
