"""A sweep: runs that differ in some keys, each a run of its own, several side by side; and how they compare."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from itertools import chain
from typing import Any, NamedTuple

from mlp_jax.errors import InputError, TrainingDiverged, TrainingInterrupted
from mlp_jax.tables.preparation import Prepared
from mlp_jax.training import loop
from mlp_jax.training.build import program_of, read, require_suited, resolve, wanted
from mlp_jax.training.config import Config, as_values, choices, flat, members
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
        number: of its folder, which is the seed where nothing else varies.
        varied: its values of the keys that vary.
        asked: its configuration as it was given.
        config: the same, resolved.
        program: what it shares with those of the same compiled program.
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
    trainers = _Trainers(config, examples, report)
    planned = trainers.planned()
    if not config.sweep:  # what is found in the data is the same for all seeds
        config = planned[0].config.model_copy(update={"seeds": config.seeds})
    if directory:
        directory.require_free(config, resume, overwrite)
    runs = _Runs(config, planned, trainers, directory, report, started)  # which compiles, with nothing changed yet
    with directory.held() if directory else nullcontext():
        if directory:
            directory.require_free(config, resume, overwrite)  # again: another run may have begun meanwhile
        return runs.to_their_end(resume)


class _Trainers:
    """The trainer of one run after another: those that read the same share it, those of one program a trainer."""

    def __init__(self, config: Config, examples: Any, report: Reporter) -> None:
        self._config = config
        self._examples = examples
        self._report = report
        self._said: set[str] = set()
        self._read: tuple[Any, Prepared] | None = None
        self._last: Trainer | None = None

    def planned(self) -> list[Member]:
        """The runs, in the order of the values."""
        _, numbers = self._config.several or ("", ())
        found = []
        for number, varied, asked in zip(numbers, choices(self._config.axes), members(self._config), strict=True):
            try:
                config = resolve(asked, self._prepared(asked))
            except InputError as error:
                raise self._of_a_run(error, varied) from None
            found.append(Member(number, varied, asked, config, program_of(config)))
        return found

    def of(self, member: Member) -> Trainer:
        """That of a run; where the one before it has the same program, what they share is made once."""
        if self._last and program_of(self._last.config) == member.program:
            return self._last.of(member.config)
        self._last = None  # before others take its place in memory
        try:
            self._last = Trainer(member.config, self._prepared(member.asked), side_by_side=True)
        except InputError as error:
            raise self._of_a_run(error, member.varied) from None
        return self._last

    def _prepared(self, config: Config) -> Prepared:
        wants = wanted(config)
        if not self._read or self._read[0] != wants:
            self._read = None
            self._read = wants, read(config, self._examples)
        prepared = self._read[1]
        require_suited(config, prepared)
        for finding in prepared.said:
            if finding not in self._said:
                self._said.add(finding)
                self._report.say(finding)
        return prepared

    def _of_a_run(self, error: InputError, varied: dict[str, Any]) -> InputError:
        return InputError(f"{in_words(varied)}: {error}") if self._config.sweep else error


class _Runs:
    """The runs of a sweep while they train, those of one program one after another."""

    def __init__(
        self,
        config: Config,
        planned: list[Member],
        trainers: _Trainers,
        directory: RunDirectory | None,
        report: Reporter,
        started: float,
    ) -> None:
        self._config, self._planned, self._trainers = config, planned, trainers
        self._directory, self._report, self._started = directory, report, started
        self._kind, _ = config.several or ("", ())
        programs: list[Config] = []
        for member in planned:
            if member.program not in programs:
                programs.append(member.program)
        self._by_program = [[member for member in planned if member.program == program] for program in programs]
        # The trainer of each program is made once before any is trained, for what it refuses: the first of them last.
        in_threads = [trainers.of(of_one[0]).in_threads for of_one in reversed(self._by_program)]
        self._at_once = min(processors(), len(planned)) if all(in_threads) else 1
        if config.sweep:
            report.say(f"{len(planned)} runs, compiled {_how_often(programs)}")
        self._first = self._training(self._by_program[0][0])
        self._trainings: dict[int, Training] = {}
        self._locks: dict[int, ExitStack] = {}
        self._done: dict[int, Run] = {}
        self._training_started = time.perf_counter()

    def to_their_end(self, resume: bool) -> Run:
        """Train them all."""
        self._begin_directory(resume)
        (first, *others) = (member for of_one in self._by_program for member in of_one)
        trainings = chain([self._begun(first, self._first, resume)], self._others(others, resume))
        self._summarise("running")
        self._report.start(0, self._first.trainer.size * self._config.training.epochs)
        try:
            for training in loop.train(trainings, self._at_once, lambda _: self._show([])):
                self._ended(training)
        except TrainingInterrupted as stop:
            how_far = f"stopped after {len(self._done)} of {len(self._planned)} {self._kind}s"
            for number in tuple(self._trainings):
                self._finish(number, interrupted=True)
            self._summarise("interrupted")
            raise TrainingInterrupted(how_far, stop.signal) from None
        if any(run.summary["status"] == "finished" for run in self._done.values()):
            return self._summarise("finished")
        number, why = next(iter(self._summarise("diverged").summary["diverged"].items()))
        raise TrainingDiverged(f"all {len(self._planned)} {self._kind}s diverged; {self._kind} {number}: {why}")

    def _begin_directory(self, resume: bool) -> None:
        directory = self._directory
        if not directory:
            return
        if not (resume and directory.holds_run()):
            directory.start(self._config)
            return
        for of_one in self._by_program:  # any run may refuse, before anything of what is there is changed
            like = self._first if of_one is self._by_program[0] else self._training(of_one[0])
            for member in of_one:
                folder = directory.child(self._kind, member.number)
                with folder.held(by_its_sweep=True):
                    like.found_in(folder, member.config)
        directory.save_config(self._config)

    def _training(self, member: Member) -> Training:
        return Training(member.config, self._trainers.of(member), self._report)

    def _others(self, others: list[Member], resume: bool) -> Iterator[Training]:
        for member in others:
            yield self._begun(member, self._training(member), resume)

    def _begun(self, member: Member, training: Training, resume: bool) -> Training:
        folder = self._directory and self._directory.child(self._kind, member.number)
        self._locks[member.number] = ExitStack()
        if folder:
            self._locks[member.number].enter_context(folder.held(by_its_sweep=True))
        self._trainings[member.number] = training.begin(folder, resume)
        return training

    def _ended(self, training: Training) -> None:
        number = next(number for number, one in self._trainings.items() if one is training)
        self._finish(number)
        if training.diverged:
            self._report.say(f"{self._kind} {number} diverged: {training.why_diverged()}")
        self._show([{**record, self._kind: len(self._done)} for record in training.history[-1:]])

    def _finish(self, number: int, interrupted: bool = False) -> None:
        with self._locks.pop(number):
            self._done[number] = self._trainings.pop(number).finish(interrupted=interrupted)

    def _show(self, records: list[dict[str, Any]]) -> None:
        parts = (training.done / training.config.training.epochs for training in self._trainings.values())
        self._report.advanced(len(self._done) + sum(parts), records)

    def _summarise(self, status: str) -> Run:
        entries = [
            Entry(f"{self._kind}-{member.number}", member.varied, self._done[member.number])
            for member in self._planned
            if member.number in self._done
        ]
        now = time.perf_counter()
        trainer = self._first.trainer
        seconds = {
            "compile": trainer.compile_seconds,
            "training": now - self._training_started,
            "all": now - self._started,
        }
        done = max((entry.run.summary["epochs"] for entry in entries), default=0)
        summary = summary_of(trainer, status, done, seconds)
        if self._kind == "seed":
            summary["seeds"] = [member.number for member in self._planned]
        if diverged := [entry for entry in entries if entry.run.summary["status"] == "diverged"]:
            summary["diverged"] = {entry.name.split("-")[1]: entry.run.summary["reason"] for entry in diverged}
        rows = standings(entries)
        if rows and rows[0].results:
            summary["results"] = rows[0].results
            best = next(entry.run for entry in entries if entry.name in rows[0].runs)
            summary |= {key: best.summary[key] for key in _OF_THE_BEST}
        if self._kind == "run":
            summary["judged_by"] = list(judged_by(entry.run for entry in entries))
            summary["table"] = [row._asdict() for row in rows]
        if self._directory:
            self._directory.save_summary(summary)
        runs = tuple(entry.run for entry in entries)
        return Run(self._config, trainer.net, None, summary.get("results", {}), [], summary, runs)


def in_words(varied: dict[str, Any]) -> str:
    """As in optimizer.learning_rate=0.1, seed=0."""
    return ", ".join(f"{key}={value}" for key, value in varied.items())


def _how_often(programs: list[Config]) -> str:
    """How many programs there are, and in what they differ."""
    if len(programs) == 1:
        return "once"
    values = [flat(as_values(program)) for program in programs]
    keys = dict.fromkeys(key for one in values for key in one)
    differing = [key for key in keys if len({repr(one.get(key)) for one in values}) > 1]
    return f"{len(programs)} times, for {', '.join(differing)} make{'s' * (len(differing) == 1)} another program"
