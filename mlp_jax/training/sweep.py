"""A sweep: runs that differ in some keys, each a run of its own, several side by side; and how they compare."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from mlp_jax.errors import TrainingDiverged, TrainingInterrupted
from mlp_jax.processes.together import in_turn, require_equal, together
from mlp_jax.training import loop
from mlp_jax.training.build import program_of
from mlp_jax.training.config import Config
from mlp_jax.training.environment import processors
from mlp_jax.training.folds import as_table, held_out
from mlp_jax.training.planning import Member, Sources, by_program, named, planned
from mlp_jax.training.progress import Reporter
from mlp_jax.training.run import Run
from mlp_jax.training.single import Training, summary_of
from mlp_jax.training.standing import Entry, judged_by, standings
from mlp_jax.training.store.directory import RunDirectory
from mlp_jax.training.streamed import trainer_of
from mlp_jax.training.trainer import Trainer

# Of a summary, what may differ from run to run: that of the best is said.
_OF_THE_BEST = ("steps_per_epoch", "examples", "data", "parameters", "precision")


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
    sources = Sources(examples, report)
    runs = in_turn(lambda: planned(config, sources))
    require_equal(data=sources.of(runs[0].asked).fingerprint)
    if config.several and config.several[0] == "seed":  # what is found in the data is the same for all
        config = runs[0].config.model_copy(update={"seeds": config.seeds, "sweep": config.sweep})
    free = config, resume, overwrite
    together(lambda: directory.require_free(*free) if directory else None)
    under_way = _Runs(config, runs, sources, directory, report, started)  # which compiles, and changes nothing
    with ExitStack() as until_the_end:
        together(lambda: directory and until_the_end.enter_context(directory.taken(*free)))
        together(lambda: under_way.begin_directory(directory, resume) if directory else None)
        return under_way.to_their_end(resume)


class _Runs:
    """The runs of a sweep while they train, those of one program one after another."""

    def __init__(
        self,
        config: Config,
        members: list[Member],
        sources: Sources,
        directory: RunDirectory | None,
        report: Reporter,
        started: float,
    ) -> None:
        self._config, self._members, self._sources = config, members, sources
        self._directory, self._report, self._started = directory, report, started
        self._kind, _ = config.several or ("", ())
        self._compiled: dict[Any, Any] = {}
        self._trainer: Trainer | None = None
        self._training: dict[int, Training] = {}
        self._locks: dict[int, ExitStack] = {}
        self._done: dict[int, Run] = {}
        self._held_out: list[list[Any]] = []
        self._by_program = by_program(members)
        firsts: dict[str, Member] = {}  # of each compiled program, whatever the data
        for of_one in self._by_program:
            firsts.setdefault(repr(of_one[0].program.model_copy(update={"data": None})), of_one[0])
        # before any is trained, for what a trainer refuses
        in_threads = [self._trainer_of(first).in_threads for first in firsts.values()]
        self._at_once = min(processors(), len(members)) if all(in_threads) else 1
        if config.sweep:
            report.say(f"{len(members)} runs of {len(firsts)} compiled program{'s' * (len(firsts) > 1)}")
        self._first = self._new(self._by_program[0][0])
        self._training_started = time.perf_counter()

    def _trainer_of(self, member: Member) -> Trainer:
        """That of a run; where the one before it has the same program, what that made and learned serves this one."""
        if self._trainer and program_of(self._trainer.config) == member.program:
            self._trainer = self._trainer.of(member.config)
            return self._trainer
        self._trainer = None  # before another takes its place in memory
        with named(self._config, member.varied):
            self._trainer = trainer_of(member.config, self._sources.of(member.asked), self._compiled)
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
            how_far = f"stopped after {len(self._done)} of {len(self._members)} {self._kind}s"
            for number in tuple(self._training):
                self._finish(number, interrupted=True)
            self._summarise("interrupted")
            raise TrainingInterrupted(how_far, stop.signal) from None
        if any(run.summary["status"] == "finished" for run in self._done.values()):
            if self._directory and self._held_out:
                self._directory.write(self._directory.predictions, as_table(self._held_out).encode())
            return self._summarise("finished")
        number, why = next(iter(self._summarise("diverged").summary["diverged"].items()))
        raise TrainingDiverged(f"all {len(self._members)} {self._kind}s diverged; {self._kind} {number}: {why}")

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
        there = [member for member in self._members if member.number in self._done]
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
            summary[f"{self._kind}s"] = [member.number for member in self._members]
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
