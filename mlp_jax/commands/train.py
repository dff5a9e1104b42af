"""`mlp-jax train CONFIG`: train a network as a YAML file says, or for a sweep one for each of its values."""

from argparse import Namespace
from contextlib import nullcontext
from pathlib import Path

from mlp_jax.commands.evaluate import print_results
from mlp_jax.errors import InputError
from mlp_jax.processes.joining import joined
from mlp_jax.terminal import put
from mlp_jax.training.config import Config
from mlp_jax.training.fitting import fit
from mlp_jax.training.progress import reporter_for_terminal
from mlp_jax.training.run import Run
from mlp_jax.training.shown import how_many_seeds, in_columns
from mlp_jax.training.standing import in_rows, of_summary

_MOST_ROWS, _MOST_NAMES = 50, 5  # that are printed


def run(config: Config, options: Namespace) -> int:
    """Train, print results, and say where the run is; 1 if runs of a sweep diverged."""
    run_dir = options.run_dir or Path("runs") / options.config.stem
    if (own := run_dir / "config.yaml").exists() and own.samefile(options.config) and not options.resume:
        raise InputError(f"the run would replace its own configuration, {options.config}; name another --run-dir")
    if options.processes:
        training = config.training.model_copy(update={"processes": options.processes})
        config = config.model_copy(update={"training": training})
    processes = config.training.processes
    place = (None, None, None) if processes == "auto" else (options.coordinator, processes, options.process_id)
    with joined(*place) if processes == "auto" or options.coordinator else nullcontext():
        run = fit(
            config, run_dir=run_dir, resume=options.resume, overwrite=options.overwrite,
            reporter=reporter_for_terminal(),
        )  # fmt: skip
        return _tell(run, config, run_dir)


def _tell(run: Run, config: Config, run_dir: Path) -> int:
    best, rows = run.summary.get("best_epoch"), of_summary(run.summary)
    if rows:
        shown = in_rows(rows, tuple(run.summary["judged_by"]))
        put("\n".join(in_columns(shown[: _MOST_ROWS + 1])))
        put(f"and {len(rows) - _MOST_ROWS} more, in {run_dir / 'summary.json'}\n" if len(rows) > _MOST_ROWS else "")
        put(f"the best: {', '.join(str(run_dir / name) for name in rows[0].runs[:_MOST_NAMES])}")
    else:
        print_results(run.results, f"epoch {best}" if best else "", run.summary.get("baseline"))
    several = f"{how_many_seeds(config, run.results)}, " if config.several else ""
    put(f"\n{several}{run.summary['parameters']:,} parameters, {run.summary['epochs']} epochs, {run.summary['device']}")
    if constant := run.summary.get("baseline"):
        put(f"baseline: {constant['prediction']}, on the {list(run.results)[-1]} part")
    if stopped := run.summary.get("early_stopping"):
        put(stopped)
    put(f"run: {run_dir}")
    diverged = run.summary.get("diverged", {})
    for number, why in diverged.items():
        put(f"{config.several[0] if config.several else ''} {number} diverged: {why}")
    return 1 if diverged else 0
