"""A sweep: runs that differ in some keys, each a run of its own, several side by side; and how they compare."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from itertools import groupby
from typing import Any, NamedTuple

from mlp_jax.errors import InputError, TrainingDiverged, TrainingInterrupted
from mlp_jax.tables.preparation import Prepared
from mlp_jax.training import loop
from mlp_jax.training.build import program_of, read, require_suited, resolve, wanted
from mlp_jax.training.config import Config, choices, members
from mlp_jax.training.environment import processors
from mlp_jax.training.progress import Reporter
from mlp_jax.training.run import Run
from mlp_jax.training.single import Training, summary_of
from mlp_jax.training.standing import Entry, judged_by, standings
from mlp_jax.training.store.directory import RunDirectory
from mlp_jax.training.trainer import Trainer

# Of a summary, what may differ from run to run: that of the best is said.
_OF_THE_BEST = ("steps_per_epoch", "examples", "data", "parameters", "precision")


class Member(NamedTuple):
    """One run of a sweep.

    Attributes:
        name: of its folder: kind and number.
        varied: its values of the keys that vary.
        config: its configuration, resolved.
        prepared: its examples.
        program: the number of its compiled program, counted from 0.
    """

    name: str
    varied: dict[str, Any]
    config: Config
    prepared: Prepared
    program: int


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
    planned = _planned(config, examples, report)
    if not config.sweep:  # what is found in the data is the same for all seeds
        config = planned[0].config.model_copy(update={"seeds": config.seeds})
    if directory:
        directory.require_free(config, resume, overwrite)
    runs = _Runs(config, planned, directory, report, started)  # which compiles, and changes nothing
    with directory.held() if directory else nullcontext():
        if directory:
            directory.require_free(config, resume, overwrite)  # again: another run may have begun meanwhile
            runs.begin_directory(directory, resume)
        return runs.to_their_end(resume)


def _planned(config: Config, examples: Any, report: Reporter) -> list[Member]:
    """The runs, in the order of the values; their data are read once, and again where that would give others."""
    kind, numbers = config.several or ("", ())
    found: list[Member] = []
    sources: list[tuple[Any, Prepared]] = []
    programs: list[Config] = []
    for number, varied, asked in zip(numbers, choices(config.axes), members(config), strict=True):
        with _named(config, varied):
            wants = wanted(asked)
            if wants not in [one for one, _ in sources]:
                sources.append((wants, read(asked, examples)))
            prepared = next(prepared for one, prepared in sources if one == wants)
            require_suited(asked, prepared)
            resolved = resolve(asked, prepared)
        if (program := program_of(resolved)) not in programs:
            programs.append(program)
        found.append(Member(f"{kind}-{number}", varied, resolved, prepared, programs.index(program)))
    for finding in dict.fromkeys(finding for _, prepared in sources for finding in prepared.said):
        report.say(finding)
    if config.sweep:
        report.say(f"{len(found)} runs of {len(programs)} compiled program{'s' * (len(programs) > 1)}")
    return found


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
        self, config: Config, planned: list[Member], directory: RunDirectory | None, report: Reporter, started: float
    ) -> None:
        self._config, self._planned, self._report, self._started = config, planned, report, started
        self._kind, _ = config.several or ("", ())
        self._directory = directory
        self._trainer: Trainer | None = None
        self._training: dict[str, Training] = {}
        self._locks: dict[str, ExitStack] = {}
        self._done: dict[str, Run] = {}
        by_program = groupby(sorted(planned, key=lambda member: member.program), lambda member: member.program)
        self._by_program = [list(of_one) for _, of_one in by_program]
        # each program's trainer is made before any is trained, for what it refuses: the first of them last
        in_threads = [self._trainer_of(of_one[0]).in_threads for of_one in reversed(self._by_program)]
        self._at_once = min(processors(), len(planned)) if all(in_threads) else 1
        self._first = self._new(self._by_program[0][0])
        self._training_started = time.perf_counter()

    def _trainer_of(self, member: Member) -> Trainer:
        """That of a run; where the one before it has the same program, what they share is made once."""
        last = self._trainer
        if last and last.prepared is member.prepared and program_of(last.config) == program_of(member.config):
            return last.of(member.config)
        self._trainer = last = None  # before another takes its place in memory
        with _named(self._config, member.varied):
            self._trainer = Trainer(member.config, member.prepared, side_by_side=True)
        return self._trainer

    def _new(self, member: Member) -> Training:
        return Training(member.config, self._trainer_of(member), self._report)

    def begin_directory(self, directory: RunDirectory, resume: bool) -> None:
        """Begin anew, or go on, which each run may refuse before anything of what is there is changed."""
        if not (resume and directory.holds_run()):
            directory.start(self._config)
            return
        for of_one in self._by_program:
            like = self._first if of_one is self._by_program[0] else self._new(of_one[0])
            for member in of_one:
                folder = RunDirectory(directory.path / member.name)
                with folder.held(by_its_sweep=True):
                    like.found_in(folder, member.config)
        directory.save_config(self._config)

    def to_their_end(self, resume: bool) -> Run:
        """Train them all."""
        self._summarise("running")
        self._report.start(0, self._first.trainer.size * self._config.training.epochs)
        try:
            for training in loop.train(self._begun(resume), self._at_once, lambda _: self._show([])):
                name = next(name for name, one in self._training.items() if one is training)
                self._finish(name)
                if training.diverged:
                    self._report.say(f"{name.replace('-', ' ')} diverged: {training.why_diverged()}")
                self._show([{**record, self._kind: len(self._done)} for record in training.history[-1:]])
        except TrainingInterrupted as stop:
            how_far = f"stopped after {len(self._done)} of {len(self._planned)} {self._kind}s"
            for name in tuple(self._training):
                self._finish(name, interrupted=True)
            self._summarise("interrupted")
            raise TrainingInterrupted(how_far, stop.signal) from None
        if any(run.summary["status"] == "finished" for run in self._done.values()):
            return self._summarise("finished")
        number, why = next(iter(self._summarise("diverged").summary["diverged"].items()))
        raise TrainingDiverged(f"all {len(self._planned)} {self._kind}s diverged; {self._kind} {number}: {why}")

    def _begun(self, resume: bool) -> Iterator[Training]:
        for member in (member for of_one in self._by_program for member in of_one):
            training = self._new(member) if self._training or self._done else self._first
            folder = self._directory and RunDirectory(self._directory.path / member.name)
            self._locks[member.name] = ExitStack()
            if folder:
                self._locks[member.name].enter_context(folder.held(by_its_sweep=True))
            self._training[member.name] = training.begin(folder, resume)
            yield training

    def _finish(self, name: str, interrupted: bool = False) -> None:
        with self._locks.pop(name):
            self._done[name] = self._training.pop(name).finish(interrupted=interrupted)

    def _show(self, records: list[dict[str, Any]]) -> None:
        parts = (training.done / training.config.training.epochs for training in self._training.values())
        self._report.advanced(len(self._done) + sum(parts), records)

    def _summarise(self, status: str) -> Run:
        there = [member for member in self._planned if member.name in self._done]
        entries = [Entry(member.name, member.varied, self._done[member.name]) for member in there]
        trainer, now = self._first.trainer, time.perf_counter()
        seconds = {"training": now - self._training_started, "all": now - self._started}
        done = max((entry.run.summary["epochs"] for entry in entries), default=0)
        summary = summary_of(trainer, status, done, {"compile": trainer.compile_seconds, **seconds})
        rows = standings(entries)
        if self._kind == "seed":
            summary["seeds"] = list(self._config.axes["seed"])
        else:
            summary["judged_by"] = list(judged_by(entry.run for entry in entries))
            summary["table"] = [row._asdict() for row in rows]
        if diverged := [entry for entry in entries if entry.run.summary["status"] == "diverged"]:
            summary["diverged"] = {entry.name.split("-")[1]: entry.run.summary["reason"] for entry in diverged}
        if rows and rows[0].results:
            summary |= {key: self._done[rows[0].runs[0]].summary[key] for key in _OF_THE_BEST}
            summary["results"] = rows[0].results
        if self._directory:
            self._directory.save_summary(summary)
        runs = tuple(entry.run for entry in entries)
        return Run(self._config, trainer.net, None, summary.get("results", {}), [], summary, runs)
