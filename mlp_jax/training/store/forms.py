"""The forms of what is read back from a run: records, summary, notes of weights and checkpoints.

Behind this door all is of these types and goes together; what cannot be quoted, as NaN, is null.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from mlp_jax.sections import Section

_ABSENT: Any = None  # a key that may be left out, but not be null
Number = float | None
Measures = Annotated[dict[str, Number], Field(min_length=1)]
Count = Annotated[int, Field(ge=0, lt=2**63)]


class Record(Section):
    """A line of `metrics.jsonl`."""

    epoch: Count
    loss: Number
    training: Measures = _ABSENT
    validation: Measures = _ABSENT
    layers: dict[str, list[Number]] = _ABSENT

    def form(self) -> Any:
        """What all records of a run have in common: which measures, of how many layers."""
        layers = {name: len(values) for name, values in (self.layers or {}).items()}
        return [[*(part or ())] for part in (self.training, self.validation)], layers


class Statistics(Section):
    """Of a metric over several seeds or folds."""

    mean: Number
    sd: Number
    seeds: Annotated[list[Number], Field(min_length=1)]


class Standing(Section):
    """A row of the table of a sweep: runs that differ in seed or fold alone."""

    varied: dict[str, Any]
    runs: Annotated[list[str], Field(min_length=1)]
    finished: Count
    results: dict[str, dict[str, Statistics]]


class Summary(Section):
    """`summary.json` of one training; of one that is under way, or was killed, its first part.

    What stands there besides is shown and compared, and no more.
    """

    model_config = ConfigDict(extra="allow")

    status: Literal["running", "interrupted", "diverged", "finished"]
    epochs: Count
    steps_per_epoch: Annotated[int, Field(ge=1, lt=2**63)] = 1
    examples: dict[str, Count] = _ABSENT
    data: str = ""
    parameters: Count = 0
    device: str = ""
    versions: dict[str, str] = _ABSENT
    diverged: dict[str, str] = _ABSENT
    reason: str = ""
    best_epoch: Count = 0
    early_stopping: str = ""
    said: list[str] = _ABSENT
    results: Annotated[dict[str, Measures], Field(min_length=1)] = _ABSENT
    classes: dict[str, Measures] = _ABSENT
    baseline: dict[str, str | Measures] = _ABSENT

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        whole = {"parameters", "device", "versions", "steps_per_epoch"}
        whole |= {"results"} if self.status == "finished" else set()
        whole |= set() if isinstance(self, SummaryOfSeveral) else {"data", "examples"}
        if self.status != "running" and (lost := sorted(whole - self.model_fields_set)):
            raise ValueError(f"a run that is {self.status} has {', '.join(lost)}")
        for tables in (self.results, self.classes):
            if len({tuple(measures) for measures in (tables or {}).values()}) > 1:
                raise ValueError("each part and each class has the same measures")
        words = [part for part, found in (self.baseline or {}).items() if isinstance(found, str)]
        if "baseline" in self.model_fields_set and words != ["prediction"]:
            raise ValueError("a baseline has a prediction, and measures of a part")
        return self


Tables = Annotated[dict[str, Annotated[dict[str, Statistics], Field(min_length=1)]], Field(min_length=1)]


class SummaryOfSeveral(Summary):
    """The same of several runs that differ in seed, fold or other keys: results are statistics."""

    judged_by: tuple[str, str] = _ABSENT
    table: list[Standing] = _ABSENT
    results: Tables = _ABSENT  # type: ignore[assignment]


class Notes(Section):
    """What stands beside arrays: the checksum, and of which configuration and data they are."""

    # others are those of another kind of file, which says so by what it lacks
    model_config = ConfigDict(extra="allow")

    sha256: str
    config: str
    data: str


class WeightNotes(Notes):
    """Those of `weights.safetensors`."""

    input_names: list[str]
    target_names: list[str]
    class_weights: list[float] = _ABSENT


class CheckpointNotes(Notes):
    """Those of a checkpoint."""

    step: Count
