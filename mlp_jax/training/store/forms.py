"""The forms of what is read back from a run: records, summary, notes of weights and checkpoints.

Behind this door all is of these types and goes together; what cannot be quoted, as NaN, is null.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from mlp_jax.sections import Section

Number = float | None
Measures = Annotated[dict[str, Number], Field(min_length=1)]
Count = Annotated[int, Field(ge=0, lt=2**63)]


class Record(Section):
    """A line of `metrics.jsonl`."""

    epoch: Count
    loss: Number
    training: Measures | None = None
    validation: Measures | None = None
    layers: dict[str, list[Number]] | None = None

    def form(self) -> Any:
        """What all records of a run have in common: which measures, of how many layers."""
        layers = {name: len(values) for name, values in (self.layers or {}).items()}
        return [list(part or ()) for part in (self.training, self.validation)], layers


class Statistics(Section):
    """Of a metric over several seeds or folds."""

    mean: Number
    sd: Number
    seeds: Annotated[list[Number], Field(min_length=1)]


ResultsOfSeveral = dict[str, Annotated[dict[str, Statistics], Field(min_length=1)]]


class Standing(Section):
    """A row of the table of a sweep: runs that differ in seed or fold alone."""

    varied: dict[str, Any]
    runs: list[str]
    finished: Count
    results: ResultsOfSeveral


class Git(Section):
    """The commit of the folder in which the command was given."""

    commit: str
    changed: bool


class Summary(Section):
    """`summary.json` of one training; of one that is under way, or was killed, its first part."""

    status: Literal["running", "interrupted", "diverged", "finished"]
    epochs: Count
    steps_per_epoch: Annotated[int, Field(ge=1, lt=2**63)] | None = None
    examples: dict[str, Count] | None = None
    data: str | None = None
    parameters: Count | None = None
    precision: dict[str, str] | None = None
    seconds: dict[str, float] | None = None
    device: str | None = None
    processors: Count | None = None
    versions: dict[str, str] | None = None
    x64: bool | None = None
    settings: dict[str, str | int | bool | None] | None = None
    flags: dict[str, str] | None = None
    git: Git | None = None
    seeds: list[Count] | None = None
    diverged: dict[str, str] | None = None
    reason: str | None = None
    best_epoch: Count | None = None
    early_stopping: str | None = None
    said: list[str] | None = None
    results: dict[str, Measures] | None = None
    classes: dict[str, Measures] | None = None
    baseline: dict[str, str | Measures] | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.status != "running":
            whole: tuple[str, ...] = ("parameters", "device", "versions", "steps_per_epoch", "seconds")
            whole += ("results",) * (self.status == "finished")
            if lost := [key for key in whole if not getattr(self, key)]:
                raise ValueError(f"a run that is {self.status} has {lost[0]}")
        for tables in (self.results, self.classes):
            if len({tuple(measures) for measures in (tables or {}).values()}) > 1:
                raise ValueError("each part and each class has the same measures")
        if self.baseline is not None:
            if not isinstance(self.baseline.get("prediction"), str):
                raise ValueError("a baseline has a prediction")
            if any(isinstance(measures, str) for part, measures in self.baseline.items() if part != "prediction"):
                raise ValueError("a baseline has measures of a part")
        return self


class SummaryOfSeveral(Summary):
    """The same of several runs that differ in seed, fold or other keys: results are statistics."""

    folds: list[Count] | Count | None = None
    judged_by: tuple[str, str] | None = None
    table: list[Standing] | None = None
    results: ResultsOfSeveral | None = None  # type: ignore[assignment]


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
    class_weights: list[float] | None = None


class CheckpointNotes(Notes):
    """Those of a checkpoint."""

    step: Count
