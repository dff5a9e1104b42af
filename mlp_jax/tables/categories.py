"""A column of categories: one input for each, with codes of their own for missing and for rare ones."""

from typing import Any, Literal, Self

from numpy.typing import NDArray

from mlp_jax.sections import Count, Index, Section
from mlp_jax.tables.arrow import pa, pc
from mlp_jax.tables.text import is_number

Array = NDArray[Any]
# A column with more is looked up: the network takes the number of the category, and adds up rows of W. That is less to
# keep, and from about so many on takes no more time than the product with a one-hot row (10 numbers and 3 columns of 8,
# 20 and 50 categories, batch 32 and 256, on two cores).
MOST_ONE_HOT = 16
_POINT = r"^([+-]?\d+)\.0+$"


class Category(Section):
    """Categories of the training part in the order of their names, with their counts.

    The codes are 0, 1, … for the categories, then one for missing cells and one for rare categories, where the training
    part has such. An unseen category is taken for a rare one; where there is no code for it, or for a missing cell, all
    inputs of the column are 0.
    """

    name: str
    kind: Literal["category"]
    why: str
    missing: Index  # cells of the training part
    categories: dict[str, Count]
    rare: dict[str, Count]

    @property
    def inputs(self) -> list[str]:
        """The names of the inputs that the column becomes."""
        more = ["missing"] * (self.missing > 0) + ["rare"] * bool(self.rare)
        return [*(f"{self.name}={word}" for word in self.categories), *(f"{self.name}:{word}" for word in more)]

    @property
    def looked_up(self) -> bool:
        """Whether there are so many that the network takes their code."""
        return len(self.categories) + (self.missing > 0) + bool(self.rare) > MOST_ONE_HOT

    @classmethod
    def learn(cls, name: str, why: str, column: Any, min_count: int) -> Self:
        """From the cells of the training part, of which some are there."""
        column = as_words(column)
        if all(map(is_number, column.drop_null().unique().to_pylist())):
            column = as_known(column, pa.array([], pa.string()))
        counted = pc.value_counts(column.drop_null())
        words, counts = counted.field(0).to_pylist(), counted.field(1).to_pylist()
        found = dict(sorted(zip(words, counts, strict=True)))
        return cls(
            name=name,
            kind="category",
            why=why,
            missing=column.null_count,
            categories={word: count for word, count in found.items() if count >= min_count},
            rare={word: count for word, count in found.items() if count < min_count},
        )

    def codes(self, column: Any) -> Array:
        """The code of each cell, −1 where it has none."""
        column = as_known(column, self._known)
        k = len(self.categories)
        places = pc.index_in(column, value_set=pa.array(list(self.categories), pa.string()))
        of_missing = k if self.missing else -1
        of_rare = k + (self.missing > 0) if self.rare else -1
        codes = pc.fill_null(pc.if_else(column.is_null(), of_missing, places), of_rare)
        found: Array = codes.to_numpy(zero_copy_only=False)
        return found

    @property
    def _known(self) -> Any:
        return pa.array([*self.categories, *self.rare], pa.string())

    def encode(self, column: Any) -> list[Array]:
        """The inputs, (n,) each: one-hot, or where there are many the code."""
        codes = self.codes(column)
        if self.looked_up:
            return [codes]
        return [codes == code for code in range(len(self.inputs))]

    def unseen(self, column: Any) -> dict[str, int]:
        """The categories that the training part does not have, with their counts."""
        column = as_known(column, self._known)
        new = column.filter(pc.invert(pc.is_in(column, value_set=self._known))).drop_null()
        return {str(entry["values"]): entry["counts"] for entry in pc.value_counts(new).to_pylist()}


def as_words(column: Any) -> Any:
    """Cells as text; a whole number is written as one, whatever its type."""
    kind = column.type
    if pa.types.is_floating(kind):
        whole = column.cast(pa.int64(), safe=False)
        texts = pc.if_else(
            pc.equal(whole.cast(kind, safe=False), column), whole.cast(pa.string()), column.cast(pa.string())
        )
        column = pc.if_else(pc.is_nan(column), None, texts)
    elif pa.types.is_boolean(kind):
        column = pc.if_else(column, "True", "False")
    return column.cast(pa.string())


def as_known(column: Any, known: Any) -> Any:
    """Cells as text, in the spelling that is known: 1.0 is 1, which a file of numbers may have for it."""
    words = as_words(column)
    if not pa.types.is_string(column.type):
        return words
    return pc.if_else(pc.is_in(words, value_set=known), words, pc.replace_substring_regex(words, _POINT, r"\1"))
