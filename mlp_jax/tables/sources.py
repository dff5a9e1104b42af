"""Where examples come from: a record of a configuration's `data` section for each kind of source, and how it is read.

To add a source, write its record here, in the union `Data`, too, and what reads it in a file of its own.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from mlp_jax.errors import InputError
from mlp_jax.sections import Fraction, Section, Seed, one_or_each

if TYPE_CHECKING:
    from mlp_jax.tables.reading import Table


class Split(Section):
    """Fractions of the examples held out, drawn by a permutation from the seed; the rest is for training."""

    validation: Fraction = 0.15
    test: Fraction = 0.15
    seed: Seed = 0

    @field_validator("test")
    @classmethod
    def _something_left(cls, test: float, info: ValidationInfo) -> float:
        if info.data.get("validation", 0) + test >= 1:
            raise ValueError(f"validation + test must be below 1, got {info.data['validation']} + {test}")
        return test


class Source(Section):
    """A source of examples.

    Attributes:
        where: the keys that say where the data are, and not what: moved data are the same data.
    """

    where: ClassVar[tuple[str, ...]] = ()
    split: Split = Split()
    standardize_inputs: bool = True  # by mean and standard deviation of the training examples
    standardize_targets: bool = False

    def read(self, arrays: Any = None) -> "Table":
        """The examples, unchecked; of `arrays`, those that were given in Python.

        Raises:
            InputError: a file is missing or malformed.
        """
        raise NotImplementedError


class SklearnData(Source):
    """A data set that scikit-learn brings along."""

    source: Literal["breast_cancer", "diabetes", "digits", "iris", "linnerud", "wine"]

    def read(self, arrays: Any = None) -> "Table":
        from mlp_jax.tables.bundled import read_bundled

        return read_bundled(self.source)


class CSVData(Source):
    """A CSV file with a header; every cell a number. `target` names one column or several."""

    where = ("path",)
    source: Literal["csv"]
    path: Path = Field(strict=False)
    target: one_or_each(str)  # type: ignore[valid-type]

    @field_validator("target")
    @classmethod
    def _different(cls, target: Any) -> Any:
        if isinstance(target, tuple) and len(set(target)) != max(1, len(target)):
            raise ValueError(f"must name one column or several different ones; got {list(target)}")
        return target

    def read(self, arrays: Any = None) -> "Table":
        from mlp_jax.tables.reading import read_csv

        return read_csv(self.path, self.target if isinstance(self.target, tuple) else (self.target,))


class NPZData(Source):
    """Two arrays of one .npz file."""

    where = ("path", "x", "y")
    source: Literal["npz"]
    path: Path = Field(strict=False)
    x: str = "x"
    y: str = "y"

    def read(self, arrays: Any = None) -> "Table":
        from mlp_jax.tables.reading import read_npz

        return read_npz(self.path, self.x, self.y)


class NPYData(Source):
    """Two .npy files."""

    where = ("x", "y")
    source: Literal["npy"]
    x: Path = Field(strict=False)
    y: Path = Field(strict=False)

    def read(self, arrays: Any = None) -> "Table":
        from mlp_jax.tables.reading import Table, load_numpy

        return Table(f"{self.x} with {self.y}", load_numpy(self.x), load_numpy(self.y))


class ArrayData(Source):
    """Arrays x and y that `mlp_jax.training.fit` is given in Python."""

    source: Literal["arrays"]

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


Data = Annotated[SklearnData | CSVData | NPZData | NPYData | ArrayData, Field(discriminator="source")]
