"""The command line: `mlp-jax train | report | evaluate | predict | verify | …`. JAX waits for a right input."""

import argparse
import csv
import os
import platform
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from mlp_jax import __version__


def run() -> NoReturn:
    """The command: `main`, and an end without tear-down, for freeing JAX and SciPy takes 0.4 s and saves nothing."""
    signal.signal(signal.SIGINT, _stop)
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _stop(*_: Any) -> NoReturn:
    # No exception: raised within an import or a callback of JAX, it would be reported or swallowed there.
    show_cursor = b"\x1b[?25h" * sys.stderr.isatty()  # which the bar hides
    os.write(sys.stderr.fileno(), show_cursor + b"mlp-jax: stopped\n")
    os._exit(130)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        The exit status: 0 done, 1 a check failed or training diverged, 2 the command, the configuration or the data is
        wrong, 130 stopped by Ctrl-C.
    """
    options = _parser().parse_args(arguments)
    from mlp_jax.training.errors import InputError, TrainingDiverged, TrainingInterrupted

    try:
        status = options.run(options) or 0
        sys.stdout.flush()
    except InputError as error:
        return _fail(error, 2)
    except TrainingDiverged as error:
        return _fail(error, 1)
    except TrainingInterrupted as error:
        how = f". To go on: {_command_to_resume(options)}" if options.run is _train else ""
        return _fail(f"{error}{how}", 128 + error.signal)
    except OSError as error:
        if error.filename is not None:
            return _fail(f"cannot use {error.filename}: {error.strerror}", 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the last flush succeeds
        if not isinstance(error, BrokenPipeError):  # as in `mlp-jax predict … | head`
            return _fail(f"cannot write the output: {error.strerror}", 2)
        return 0
    return int(status)


def _fail(message: Any, status: int) -> int:
    print(f"mlp-jax: {message}", file=sys.stderr)
    return status


def _command_to_resume(options: argparse.Namespace) -> str:
    changes = [word for change in options.set for word in ("--set", change)]
    run_dir = ["--run-dir", str(options.run_dir)] if options.run_dir else []
    return shlex.join(["mlp-jax", "train", str(options.config), *changes, *run_dir, "--resume"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mlp-jax",
        description="Train and use multilayer perceptrons.",
        epilog="exit status: 0 done, 1 a check failed or training diverged, 2 the command, the configuration or the "
        "data is wrong",
    )
    parser.add_argument("--version", action="version", version=f"mlp-jax {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    train = commands.add_parser(
        "train",
        help="train a network as a YAML file says",
        usage="mlp-jax train CONFIG [--set KEY=VALUE ...] [--run-dir DIR] [--resume | --overwrite]",
    )
    _add_config(train)
    train.add_argument("--run-dir", type=Path, metavar="DIR", help="where to write (default runs/NAME of CONFIG)")
    existing = train.add_mutually_exclusive_group()
    existing.add_argument("--resume", action="store_true", help="go on with the run in that directory")
    existing.add_argument("--overwrite", action="store_true", help="replace the run in that directory")
    train.set_defaults(run=_train)

    inspect = commands.add_parser(
        "inspect",
        help="data, network, flops and memory of a configuration, without training",
        usage="mlp-jax inspect CONFIG [--set KEY=VALUE ...]",
    )
    _add_config(inspect)
    inspect.set_defaults(run=_inspect)

    for name, task, help in (
        ("report", _report, "a run on one HTML page: curves, confusion or residuals, health of the layers"),
        ("reproduce", _reproduce, "train a run anew, and say how far it comes out the same"),
        ("replay", _replay, "take the step again that made a run diverge, and say what happens"),
    ):
        command = commands.add_parser(name, help=help)
        command.add_argument("run_dir", type=Path, metavar="RUN_DIR")
        if task is _report:
            command.add_argument("--output", type=Path, metavar="FILE", help="by default report.html in RUN_DIR")
        command.set_defaults(run=task)

    evaluate = commands.add_parser("evaluate", help="cost and metrics of a trained network on its data")
    evaluate.add_argument("run_dir", type=Path, metavar="RUN_DIR")
    evaluate.set_defaults(run=_evaluate)

    predict = commands.add_parser("predict", help="predictions of a trained network for new inputs, as CSV")
    predict.add_argument("run_dir", type=Path, metavar="RUN_DIR")
    predict.add_argument("file", type=Path, metavar="FILE", help="inputs: CSV with a header, or .npy")
    predict.set_defaults(run=_predict)

    verify = commands.add_parser(
        "verify",
        help="check a gradient: of a function of yours, or of a configuration's network",
        usage="mlp-jax verify MODULE:FUNCTION [--args MODULE:NAME] [--grad MODULE:FUNCTION | --transforms]\n"
        "       mlp-jax verify CONFIG.yaml [--set KEY=VALUE ...]",
    )
    _add_verify(verify)
    verify.set_defaults(run=_verify)

    draw = commands.add_parser(
        "draw",
        help="the graph of a network's cost, and of its gradient",
        usage="mlp-jax draw CONFIG [--set KEY=VALUE ...] [--gradient] [--output FILE]",
    )
    _add_config(draw)
    draw.add_argument("--gradient", action="store_true", help="with the gradient for the parameters, by Algorithm 6.5")
    draw.add_argument(
        "--output", type=Path, metavar="FILE", help="a picture .svg, .dot or .mmd (Mermaid); as text if not given"
    )
    draw.set_defaults(run=_draw)
    return parser


def _add_config(command: argparse.ArgumentParser) -> None:
    command.add_argument("config", type=Path, metavar="CONFIG", help="a YAML file, see configs/")
    _add_set(command)


def _add_set(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--set",
        action="extend",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="override keys of the file, as in optimizer.learning_rate=0.05 seed=1; "
        "precedence: defaults, then the file, then --set; paths of data start at the file's folder",
    )


def _add_verify(command: argparse.ArgumentParser) -> None:
    command.add_argument("target", metavar="TARGET", help="module:function, or a YAML file")
    command.add_argument(
        "--args", metavar="MODULE:NAME", help="its arguments: a tuple, or a function that returns one (example_args)"
    )
    command.add_argument("--grad", metavar="MODULE:FUNCTION", help="a hand-written gradient of the function, to check")
    command.add_argument("--reference", metavar="MODULE:FUNCTION", help="a function whose gradient is the truth")
    command.add_argument("--transforms", action="store_true", help="also under jit, vmap, scan, other dtypes and sizes")
    command.add_argument("--seed", type=int, default=0, help="of the random cotangents (default 0)")
    command.add_argument("--json", type=Path, metavar="FILE", help="write every number of the reports")
    _add_set(command)


def _train(options: argparse.Namespace) -> None:
    from mlp_jax.training import config as configuration
    from mlp_jax.training.errors import InputError

    config = configuration.load(options.config, options.set)
    run_dir = options.run_dir or Path("runs") / options.config.stem
    if options.config.resolve() == (run_dir / "config.yaml").resolve() and not options.resume:
        raise InputError(f"the run would replace its own configuration, {options.config}; name another --run-dir")
    _set_up_jax(config.network.dtype)
    from mlp_jax.training.fitting import fit
    from mlp_jax.training.progress import reporter_for_terminal

    run = fit(
        config, run_dir=run_dir, resume=options.resume, overwrite=options.overwrite, reporter=reporter_for_terminal()
    )
    _print_results(run.results)
    seeds = f"{len(run.seeds)} seeds, " if run.seeds else ""
    print(f"\n{seeds}{run.summary['parameters']:,} parameters, {run.summary['epochs']} epochs, {run.summary['device']}")
    print(f"run: {run_dir}")


def _inspect(options: argparse.Namespace) -> None:
    from mlp_jax.training import config as configuration

    config = configuration.load(options.config, options.set)
    _set_up_jax(config.network.dtype)
    from mlp_jax.training.inspection import inspect

    for subject, finding in inspect(config):
        print(f"{subject:12}{finding}")


def _evaluate(options: argparse.Namespace) -> None:
    run = _load(options.run_dir)
    from mlp_jax.training import data
    from mlp_jax.training.checkpoint import require_same_data
    from mlp_jax.training.run import over_seeds
    from mlp_jax.training.trainer import Trainer

    prepared = data.prepare(run.config)
    trainer = Trainer(run.config, prepared)
    results = []
    for one in run.seeds or (run,):
        require_same_data(one.model.data, prepared)
        results.append({part: trainer.evaluate(one.params, part) for part in trainer.parts})
    _print_results(over_seeds(results) if run.seeds else results[0])


def _predict(options: argparse.Namespace) -> int:
    run = _load(options.run_dir)
    from mlp_jax.training.reading import read_inputs

    if run.seeds:
        folders = options.run_dir / f"seed-{run.seeds[0].config.seed}"
        return _fail(
            f"{options.run_dir} holds {len(run.seeds)} seeds, each a run of its own; name one, as {folders}", 2
        )
    x = read_inputs(options.file, run.model.input_names, run.net.widths[0])
    header, rows = run.predict(x)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return 0


def _report(options: argparse.Namespace) -> None:
    _load(options.run_dir)
    from mlp_jax.training.report import write_report

    path = options.output or options.run_dir / "report.html"
    write_report(options.run_dir, path)
    print(path)


def _reproduce(options: argparse.Namespace) -> int:
    _load(options.run_dir)
    from mlp_jax.training.progress import reporter_for_terminal
    from mlp_jax.training.reproduction import reproduce

    same, finding = reproduce(options.run_dir, reporter_for_terminal())
    print(finding)
    return 0 if same else 1


def _replay(options: argparse.Namespace) -> int:
    _set_up_jax(_config_of(options.run_dir).network.dtype)
    from mlp_jax.training.fitting import replay

    print(replay(options.run_dir))
    return 1


def _verify(options: argparse.Namespace) -> int:
    from mlp_jax.training.files import write_atomically

    if options.target.endswith((".yaml", ".yml")):
        from mlp_jax.training import config as configuration

        config = configuration.load(options.target, options.set)
        _set_up_jax(config.network.dtype)
        from mlp_jax.verify.targets import verify_config

        reports = verify_config(config)
    else:
        _set_up_jax("float32")
        from mlp_jax.verify.targets import verify_function

        reports = verify_function(
            options.target, options.args, options.grad, options.reference, options.transforms, options.seed
        )
    print("\n\n".join(map(str, reports)))
    if options.json:
        write_atomically(options.json, f"[{','.join(report.to_json() for report in reports)}]\n".encode())
    return 0 if all(report.passed for report in reports) else 1


def _draw(options: argparse.Namespace) -> None:
    from mlp_jax.training import config as configuration
    from mlp_jax.training.errors import InputError

    config = configuration.load(options.config, options.set)
    formats = {".svg": "to_svg", ".dot": "to_dot", ".mmd": "to_mermaid", ".txt": "to_text"}
    suffix = options.output.suffix if options.output else ".txt"
    if suffix not in formats:
        raise InputError(f"--output must end in one of {', '.join(formats)}; got {options.output}")
    from mlp_jax.mlp.network import cost_graph
    from mlp_jax.training.build import build_network
    from mlp_jax.training.files import write_atomically

    graph = cost_graph(
        build_network(config.network), config.training.batch_size if config.training.batch_size != "all" else 1
    )
    if options.gradient:
        graph = graph.gradient(wrt=graph.inputs[:-2])  # for the parameters, not for x and y
    drawing = getattr(graph, formats[suffix])()
    if options.output:
        write_atomically(options.output, drawing.encode())
        print(f"{options.output}: {len(graph.variables)} variables")
    else:
        print(drawing)


def _config_of(run_dir: Path) -> Any:
    from mlp_jax.training.run_directory import RunDirectory

    return RunDirectory(run_dir).load_config()


def _load(run_dir: Path) -> Any:
    """The run that a directory holds."""
    _set_up_jax(_config_of(run_dir).network.dtype)
    from mlp_jax.training.run import load

    return load(run_dir)


def _set_up_jax(dtype: str) -> None:
    """In this process only: float64 if it is needed; compiled programs and bundled data are kept for the next run."""
    import jax

    from mlp_jax.training import bundled

    if dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    caches = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "mlp_jax"
    if caches.parts[0] == "~":  # a user without a home keeps nothing
        return
    bundled.keep_in(caches)
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        # by machine: a program compiled for one processor may not run on another that shares this folder
        jax.config.update("jax_compilation_cache_dir", str(caches / platform.node()))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _print_results(results: dict[str, dict[str, Any]]) -> None:
    rows = [[part, *map(_number, values.values())] for part, values in results.items()]
    rows.insert(0, ["", *next(iter(results.values()))])
    widths = [max(12, *(len(row[k]) + 2 for row in rows)) for k in range(len(rows[0]))]
    for name, *cells in rows:
        print(f"{name:12}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True)))


def _number(value: Any) -> str:
    """A number; of several seeds, mean ± standard deviation."""
    return f"{value['mean']:.6g} ± {value['sd']:.2g}" if isinstance(value, dict) else f"{value:.6g}"
