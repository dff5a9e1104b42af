"""A sweep: runs that differ in some keys, each a run of its own, several side by side; and how they compare."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any, NamedTuple

import numpy as np

from mlp_jax.errors import InputError, TrainingDiverged, TrainingInterrupted
from mlp_jax.tables.preparation import Prepared
from mlp_jax.training import loop
from mlp_jax.training.build import program_of, read, require_suited, resolve, wanted
from mlp_jax.training.config import Config, choices, members
from mlp_jax.training.environment import processors
from mlp_jax.training.folds import as_table, held_out
from mlp_jax.training.progress import Reporter
from mlp_jax.training.run import Run
from mlp_jax.training.single import Training, summary_of
from mlp_jax.training.standing import Entry, judged_by, standings
from mlp_jax.training.store.directory import RunDirectory
from mlp_jax.training.trainer import Trainer

_MOST_BYTES = 2**29  # of examples beyond which those of another run take their place
# Of a summary, what may differ from run to run: that of the best is said.
_OF_THE_BEST = ("steps_per_epoch", "examples", "data", "parameters", "precision")


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


def sweep(
    config: Config, examples: Any, directory: RunDirectory | None, resume: bool, overwrite: bool, report: Reporter
) -> Run:
    """Train each run, on a CPU several side by side, and summarise those that finished.

    Raises:
        InputError: one of them cannot be trained, or not go on; nothing has been changed.
        TrainingDiverged: all of them did.
        TrainingInterrupted: Ctrl-C or SIGTERM; all steps that were taken are kept.
    """
    started = time.perf_counter()
    sources = _Sources(examples, report)
    planned = _planned(config, sources)
    if config.several and config.several[0] == "seed":  # what is found in the data is the same for all
        config = planned[0].config.model_copy(update={"seeds": config.seeds, "sweep": config.sweep})
    if directory:
        directory.require_free(config, resume, overwrite)
    runs = _Runs(config, planned, sources, directory, report, started)  # which compiles, and changes nothing
    with directory.held() if directory else nullcontext():
        if directory:
            directory.require_free(config, resume, overwrite)  # again: another run may have begun meanwhile
            runs.begin_directory(directory, resume)
        return runs.to_their_end(resume)


class _Sources:
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
            prepared = given if isinstance(given, Prepared) else read(asked, given)
            self._kept.append((wants, prepared))
        require_suited(asked, prepared)
        for finding in dict.fromkeys(prepared.said):
            if finding not in self._said:
                self._said.add(finding)
                self._report.say(finding)
        return prepared


def _bytes(prepared: Prepared) -> int:
    return sum(np.asarray(values).nbytes for examples in prepared.parts.values() for values in examples)


def _planned(config: Config, sources: _Sources) -> list[Member]:
    """The runs, in the order of the values."""
    _, numbers = config.several or ("", ())
    found = []
    for number, varied, asked in zip(numbers, choices(config.axes), members(config), strict=True):
        with _named(config, varied):
            resolved = resolve(asked, sources.of(asked))
        found.append(Member(number, varied, asked, resolved, program_of(resolved)))
    return found


def _grouped(planned: list[Member]) -> list[list[Member]]:
    """Those of one program together."""
    groups: list[list[Member]] = []
    for member in planned:
        same = next((group for group in groups if group[0].program == member.program), None)
        if same is None:
            groups.append([member])
        else:
            same.append(member)
    return groups


@contextmanager
def _named(config: Config, varied: dict[str, Any]) -> Iterator[None]:
    """An error says of which run it is, where that is not clear."""
    try:
        yield
    except InputError as error:
        run = ", ".join(f"{key}={value}" for key, value in varied.items())
        raise InputError(f"{run}: {error}" if config.sweep else str(error)) from None


class _Runs:
    """The runs of a sweep while they train, those of one program one after another."""

    def __init__(
        self,
        config: Config,
        planned: list[Member],
        sources: _Sources,
        directory: RunDirectory | None,
        report: Reporter,
        started: float,
    ) -> None:
        self._config, self._planned, self._sources = config, planned, sources
        self._directory, self._report, self._started = directory, report, started
        self._kind, _ = config.several or ("", ())
        self._compiled: dict[Any, Any] = {}
        self._trainer: Trainer | None = None
        self._training: dict[int, Training] = {}
        self._locks: dict[int, ExitStack] = {}
        self._done: dict[int, Run] = {}
        self._held_out: list[list[Any]] = []
        self._by_program = _grouped(planned)
        firsts: dict[str, Member] = {}  # of each compiled program, whatever the data
        for of_one in self._by_program:
            firsts.setdefault(repr(of_one[0].program.model_copy(update={"data": None})), of_one[0])
        # before any is trained, for what a trainer refuses
        in_threads = [self._trainer_of(first).in_threads for first in firsts.values()]
        self._at_once = min(processors(), len(planned)) if all(in_threads) else 1
        if config.sweep:
            report.say(f"{len(planned)} runs of {len(firsts)} compiled program{'s' * (len(firsts) > 1)}")
        self._first = self._new(self._by_program[0][0])
        self._training_started = time.perf_counter()

    def _trainer_of(self, member: Member) -> Trainer:
        """That of a run; where the one before it has the same program, what they share is made once."""
        if self._trainer and program_of(self._trainer.config) == member.program:
            return self._trainer.of(member.config)
        self._trainer = None  # before another takes its place in memory
        with _named(self._config, member.varied):
            self._trainer = Trainer(member.config, self._sources.of(member.asked), self._compiled)
        return self._trainer

    def _new(self, member: Member) -> Training:
        return Training(member.config, self._trainer_of(member), self._report)

    def _folder(self, member: Member) -> RunDirectory | None:
        return self._directory and self._directory.child(self._kind, member.number)

    def begin_directory(self, directory: RunDirectory, resume: bool) -> None:
        """Begin anew, or go on, which each run may refuse before anything of what is there is changed."""
        if not (resume and directory.holds_run()):
            directory.start(self._config)
            return
        for of_one in self._by_program:
            like = self._first if of_one is self._by_program[0] else self._new(of_one[0])
            for member in of_one:
                folder = directory.child(self._kind, member.number)
                with folder.held(by_its_sweep=True):
                    like.found_in(folder, member.config)
        directory.save_config(self._config)

    def to_their_end(self, resume: bool) -> Run:
        """Train them all."""
        self._summarise("running")
        self._report.start(0, self._first.trainer.size * self._config.training.epochs)
        try:
            for training in loop.train(self._begun(resume), self._at_once, lambda _: self._show([])):
                self._ended(training)
        except TrainingInterrupted as stop:
            how_far = f"stopped after {len(self._done)} of {len(self._planned)} {self._kind}s"
            for number in tuple(self._training):
                self._finish(number, interrupted=True)
            self._summarise("interrupted")
            raise TrainingInterrupted(how_far, stop.signal) from None
        if any(run.summary["status"] == "finished" for run in self._done.values()):
            if self._directory and self._held_out:
                self._directory.save_predictions(as_table(self._held_out))
            return self._summarise("finished")
        number, why = next(iter(self._summarise("diverged").summary["diverged"].items()))
        raise TrainingDiverged(f"all {len(self._planned)} {self._kind}s diverged; {self._kind} {number}: {why}")

    def _begun(self, resume: bool) -> Iterator[Training]:
        for member in (member for of_one in self._by_program for member in of_one):
            training = self._new(member) if self._training or self._done else self._first
            self._locks[member.number] = ExitStack()
            if folder := self._folder(member):
                self._locks[member.number].enter_context(folder.held(by_its_sweep=True))
            self._training[member.number] = training.begin(self._folder(member), resume)
            yield training

    def _ended(self, training: Training) -> None:
        number = next(number for number, one in self._training.items() if one is training)
        run = self._finish(number)
        if training.diverged:
            self._report.say(f"{self._kind} {number} diverged: {training.why_diverged()}")
        elif self._kind == "fold":
            self._held_out += held_out(run, training.trainer.prepared, number)
        self._show([{**record, self._kind: len(self._done)} for record in training.history[-1:]])

    def _finish(self, number: int, interrupted: bool = False) -> Run:
        with self._locks.pop(number):
            self._done[number] = self._training.pop(number).finish(interrupted=interrupted)
        return self._done[number]

    def _show(self, records: list[dict[str, Any]]) -> None:
        parts = (training.done / training.config.training.epochs for training in self._training.values())
        self._report.advanced(len(self._done) + sum(parts), records)

    def _summarise(self, status: str) -> Run:
        there = [member for member in self._planned if member.number in self._done]
        entries = [Entry(f"{self._kind}-{one.number}", one.varied, self._done[one.number]) for one in there]
        trainer, now = self._first.trainer, time.perf_counter()
        seconds = {"training": now - self._training_started, "all": now - self._started}
        done = max((entry.run.summary["epochs"] for entry in entries), default=0)
        summary = summary_of(trainer, status, done, {"compile": trainer.compile_seconds, **seconds})
        rows = standings(entries)
        if self._kind == "run":
            summary["judged_by"] = list(judged_by(entry.run for entry in entries))
            summary["table"] = [row._asdict() for row in rows]
        else:
            summary[f"{self._kind}s"] = [member.number for member in self._planned]
        reasons = {str(one.number): self._done[one.number].summary.get("reason") for one in there}
        if any(reasons.values()):
            summary["diverged"] = {number: why for number, why in reasons.items() if why}
        if rows and rows[0].results:
            best = next(entry.run for entry in entries if entry.name in rows[0].runs)
            summary |= {key: best.summary[key] for key in _OF_THE_BEST} | {"results": rows[0].results}
        if self._directory:
            self._directory.save_summary(summary)
        runs = tuple(entry.run for entry in entries)
        return Run(self._config, trainer.net, None, summary.get("results", {}), [], summary, runs)
