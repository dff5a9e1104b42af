"""The command line: `mlp-jax train | report | evaluate | predict | export | …`.

A configuration is read before JAX is imported; a command, from `commands/`, after it. To add one, write its file there
and its arguments here.
"""

import argparse
import contextlib
import os
import platform
import re
import shlex
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from mlp_jax import __version__
from mlp_jax.caches import heal, is_private, of_user
from mlp_jax.terminal import leave, open_streams, put, say


def run() -> NoReturn:
    """The command: `main`, and an end without tear-down, for freeing JAX and SciPy takes 0.4 s and saves nothing."""
    open_streams()
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as of what a script starts in the background
        signal.signal(signal.SIGINT, _stop)
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _stop(number: int, _: Any) -> NoReturn:
    # No exception: raised within an import or a callback of JAX, it would be reported or swallowed there.
    if remove := getattr(sys.modules.get("mlp_jax.files"), "remove_what_is_being_written", None):
        remove()
    leave("stopped", 128 + number)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        The exit status: 0 done, 1 a check failed, training diverged or one of its processes ended, 2 the command, the
        configuration or the data is wrong, 130 stopped by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP.
    """
    from mlp_jax.errors import InputError, ProcessEnded, TrainingDiverged, TrainingInterrupted

    parser, options = _parser(), argparse.Namespace(command=None)
    try:
        try:
            options = parser.parse_args(arguments)
        finally:
            sys.stdout.flush()  # of --help
        if not options.version and (options.command is None or options.verbose):
            lacks = "the following arguments are required: COMMAND"
            parser.error("--verbose goes with --version" if options.verbose else lacks)
        if options.version:
            put(f"mlp-jax {__version__}")
            if options.verbose:
                import_module("mlp_jax.commands.version").run()
            sys.stdout.flush()
            return 0
        config = _config_of(options)
        if options.command == "train" and (count := _to_start(options, config)):
            from mlp_jax.processes.launching import launch

            return launch(count, sys.argv[1:] if arguments is None else arguments)
        with contextlib.ExitStack() as set_up:
            if "program" not in options:  # which runs in a process of its own
                _set_up_jax(config.network.dtype if config else "float32")
            if "program" not in options and options.command != "train":  # whose processes meet before JAX has a device
                from mlp_jax.guest import as_guest

                set_up.enter_context(as_guest())
            status = import_module(f"mlp_jax.commands.{options.command}").run(config, options) or 0
        sys.stdout.flush()
    except (InputError, MemoryError) as error:
        return _fail(str(error) or "it needs more memory than there is", 2)
    except TrainingDiverged as error:
        return _fail(error, 1)
    except (ProcessEnded, TrainingInterrupted) as error:
        how = f". To go on: {_command_to_resume(options)}" if options.command == "train" else ""
        return _fail(f"{error}{how}", 1 if isinstance(error, ProcessEnded) else 128 + error.signal)
    except SystemExit as error:  # of a module that is checked, as of a script without a guard of its main
        if options.command is None:
            raise
        return _fail(f"the code of {options.command} called sys.exit({error.code!r}) before the work was done", 2)
    except OSError as error:
        if error.filename is not None:
            return _fail(f"cannot use {error.filename}: {error.strerror}", 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the last flush succeeds
        if not isinstance(error, BrokenPipeError):  # as in `mlp-jax predict … | head`
            return _fail(f"cannot write the output: {error.strerror}", 2)
        return 0
    return int(status)


def _fail(message: Any, status: int) -> int:
    say(_with_flags(str(message)))
    return status


def _with_flags(message: str) -> str:
    """A message that speaks of arguments of `fit`, in the words of the command."""
    return re.sub(r"\b(resume|overwrite)=True\b", r"--\1", message).replace("run_dir=…", "--run-dir")


def _command_to_resume(options: argparse.Namespace) -> str:
    changes = [word for flag in ("set", "sweep") for change in getattr(options, flag) for word in (f"--{flag}", change)]
    run_dir = ["--run-dir", str(options.run_dir)] if options.run_dir else []
    processes = ["--processes", str(options.processes)] if options.processes else []
    if options.coordinator and "MLP_JAX_LAUNCHED" not in os.environ:  # by hand, on each machine
        processes += ["--coordinator", options.coordinator, "--process-id", str(options.process_id)]
    return shlex.join(["mlp-jax", "train", str(options.config), *changes, *run_dir, *processes, "--resume"])


# --- what the commands take -------------------------------------------------------------------------


# Of each command, its arguments, of those joined by | one at most, and what it does.
COMMANDS = {
    "train": ("config --set --sweep --run-dir --resume|--overwrite --processes --coordinator --process-id",
              "train a network as a YAML file says, or many"),
    "inspect": ("config --set", "data, network, flops and memory of a configuration, without training"),
    "report": ("run_dirs --output",
               "a run on one HTML page: curves, confusion, health of layers; or how several differ"),
    "reproduce": ("run_dir", "train a run anew, and say how far it comes out the same"),
    "evaluate": ("run_dir labelled --weights", "cost and metrics of a trained network on its data, or on a new file"),
    "predict": ("run_dir file --keep --output", "predictions of a trained network for new inputs, as CSV or Parquet"),
    "export": ("run_dir model --overwrite", "a trained network as .onnx, .stablehlo, or .py for NumPy alone"),
    "verify": ("target --replay --args --grad --reference --transforms --seed --json --set",
               "check a gradient: of a function, or of a configuration's network; list the rules of a package"),
    "audit": ("--exact --seconds --folder program",
              "run a program, and check every gradient rule that it uses: mlp-jax audit -- pytest tests/"),
    "draw": ("config --set --gradient --output", "the graph of a network's cost, and of its gradient"),
}  # fmt: skip


def _takes(metavar: str, help: str | None = None, type: Any = str, **more: Any) -> dict[str, Any]:
    return {"metavar": metavar, "help": help, "type": type, **more}


def _file(metavar: str, help: str | None = None, **more: Any) -> dict[str, Any]:
    return _takes(metavar, help, Path, **more)


def _table(metavar: str, help: str, **more: Any) -> dict[str, Any]:
    return _takes(metavar, help, lambda word: Path("/dev/stdin" if word == "-" else word), **more)


def _switch(help: str) -> dict[str, Any]:
    return {"action": "store_true", "help": help}


ARGUMENTS: dict[str, dict[str, Any]] = {
    "config": _file("CONFIG", "a YAML file, see configs/"),
    "run_dir": _file("RUN_DIR"),
    "run_dirs": _file("RUN_DIR", "a run; or a sweep, or several runs to compare", nargs="+"),
    "file": _table("FILE", "inputs: a table with names, as CSV or Parquet, compressed or not; or .npy; - reads CSV "
                   "from standard input"),
    "labelled": _table("[FILE]", "a table with the targets, too; - reads CSV from standard input", nargs="?"),
    "model": _file("FILE", "ends in .onnx, .stablehlo or .py; a model card is written beside it, FILE.md"),
    "--weights": _file("FILE", "evaluate these in place of the run's: .safetensors, ours or of PyTorch; or a run"),
    "target": _takes("MODULE:FUNCTION|CONFIG.yaml|PACKAGE",
                     "module:function, a YAML file, or a package whose gradient rules are listed", nargs="?"),
    "--replay": _file("FILE", "check a call again that `mlp-jax audit` has kept"),
    "--set": _takes("KEY=VALUE", "override keys of the file, as in optimizer.learning_rate=0.05 seed=1; precedence: "
                    "defaults, then the file, then --set; paths of data start at the file's folder",
                    action="extend", nargs="+", default=[]),
    "--sweep": _takes("KEY=VALUE,VALUE", "train a run for each value, and each combination with those of other keys, "
                      "as in optimizer.learning_rate=0.01,0.003 seed=0..9", action="extend", nargs="+", default=[]),
    "--run-dir": _file("DIR", "where to write (default runs/NAME of CONFIG)"),
    "--processes": _takes("N", "train in so many processes: on this machine's processors, to try it out; with "
                          "--coordinator anywhere", int),
    "--coordinator": _takes("HOST:PORT", "where process 0 answers, the same for each process"),
    "--process-id": _takes("I", "which of the processes this is, from 0", int),
    "--resume": _switch("go on with the run in that directory"),
    "--overwrite": _switch("replace what is there"),
    "--output": _file("FILE", "a page: report.html in RUN_DIR if not given, of several runs comparison.html; a "
                      "picture: .svg, .dot or .mmd (Mermaid), else as text; predictions: .csv or .parquet, else "
                      "to standard output"),
    "--keep": _takes("COLUMN", "columns to carry along", nargs="+", default=[]),
    "--gradient": _switch("with its gradient for the parameters, by Algorithm 6.5"),
    "--args": _takes("MODULE:NAME", "its arguments: a tuple, or a function that returns one (example_args)"),
    "--grad": _takes("MODULE:FUNCTION", "a hand-written gradient of the function, to check"),
    "--reference": _takes("MODULE:FUNCTION", "a function whose gradient is the truth"),
    "--transforms": _switch("also under jit, vmap, scan, other dtypes and sizes"),
    "--seed": _takes("SEED", "of the random cotangents (default 0)", int, default=0),
    "program": {"nargs": argparse.REMAINDER, "metavar": "-- COMMAND ...", "help": "as you run it"},
    "--exact": _switch("leave compiled programs as they are, equal bit for bit; values then come from eager calls"),
    "--seconds": _takes("SECONDS", "for the checks of each process (default 120); what is left over is listed", float,
                        default=120.0),
    "--folder": _file("DIR", "for the report, and calls that did not pass (default audit)", default=Path("audit")),
    "--json": _file("FILE", "write every number of the reports"),
}  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mlp-jax",
        description="Train and use multilayer perceptrons.",
        epilog="exit status: 0 done, 1 a check failed, training diverged or a process ended, 2 the command, the "
        "configuration or the data is wrong, 130, 143 or 129 stopped by Ctrl-C, SIGTERM or SIGHUP",
    )
    parser.add_argument("--version", **_switch("show the version"))
    parser.add_argument("--verbose", **_switch("with --version: those of all that is needed, device and flags, too"))
    commands = parser.add_subparsers(metavar="COMMAND", dest="command")
    for name, (takes, help) in COMMANDS.items():
        words = takes.split()
        command = commands.add_parser(name, help=help, usage=" ".join(["mlp-jax", name, *map(_usage, words)]))
        for word in words:
            group = command.add_mutually_exclusive_group() if "|" in word else command
            for argument in word.split("|"):
                group.add_argument(argument, **ARGUMENTS[argument])
    return parser


def _usage(word: str) -> str:
    """As in CONFIG, [--set KEY=VALUE ...] or [--resume | --overwrite]; argparse would put the options first."""
    if not word.startswith("-"):
        return f"{ARGUMENTS[word]['metavar']}{' ...' * (ARGUMENTS[word].get('nargs') == '+')}"
    flags = []
    for flag in word.split("|"):
        several = ["..."] if "nargs" in ARGUMENTS[flag] else []
        flags.append(" ".join([flag, *filter(None, [ARGUMENTS[flag].get("metavar")]), *several]))
    return f"[{' | '.join(flags)}]"


# --- before a command runs --------------------------------------------------------------------------


def _config_of(options: argparse.Namespace) -> Any:
    """The configuration that a command is about, if it is about one."""
    if "program" in options:
        return None
    if "config" not in options and ("run_dir" in options or "run_dirs" in options):
        from mlp_jax.training.store.directory import RunDirectory

        run_dirs = options.run_dirs if "run_dirs" in options else [options.run_dir]
        configs = [RunDirectory(run_dir).load_config() for run_dir in run_dirs]
        return max(configs, key=lambda config: config.network.dtype == "float64")  # for which it must be on
    file = options.config if "config" in options else options.target or ""
    if Path(file).suffix not in (".yaml", ".yml") and "target" in options:
        return None
    from mlp_jax.training import config as configuration

    return configuration.load(file, options.set, options.sweep if "sweep" in options else ())


def _to_start(options: argparse.Namespace, config: Any) -> int:
    """How many processes to start here for a training; 0 if it is to be done by this one, alone or with others."""
    from mlp_jax.errors import InputError

    wanted = options.processes if options.processes is not None else config.training.processes
    if wanted not in (None, "auto") and wanted < 1:
        raise InputError(f"--processes must be 1 or more, got {wanted}")
    if options.coordinator is None and options.process_id is None:
        return wanted if wanted not in (None, "auto", 1) else 0
    if options.coordinator is None or options.process_id is None or not isinstance(wanted, int):
        raise InputError("--coordinator HOST:PORT, --processes N and --process-id I need each other")
    if not 0 <= options.process_id < wanted:
        raise InputError(f"--process-id must be from 0 to {wanted - 1}, got {options.process_id}")
    return 0


def _set_up_jax(dtype: str) -> None:
    """In this process only: float64 if it is needed; compiled programs and bundled data are kept for the next run."""
    from mlp_jax.errors import InputError

    try:
        import jax
    except ValueError as error:  # of a variable
        raise InputError(f"JAX cannot start: {error}") from None
    if dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    _keep_programs(jax.config)


def _keep_programs(settings: Any) -> None:
    """Keep compiled programs where JAX was told to, or in our folder with bundled data, if it is this user's alone."""
    from mlp_jax.tables import bundled

    told = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    own = of_user()
    own = own if own and _is_ours(own) else None
    if own:
        bundled.keep_in(own)
    if told and "://" not in told and not _is_ours(Path(told)):
        settings.update("jax_enable_compilation_cache", False)
    elif own and not told:
        # by machine: a program compiled for one processor may not run on another that shares this folder
        settings.update("jax_compilation_cache_dir", str(own / platform.node()))
        settings.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        settings.update("jax_persistent_cache_min_entry_size_bytes", -1)
        heal(own / platform.node())


def _is_ours(folder: Path) -> bool:
    if is_private(folder):
        return True
    say(f"nothing is kept in {folder}, which is not this user's alone: chmod -R go-w, or set XDG_CACHE_HOME")
    return False
