"""The gradient rules of other packages, audited at arguments that their functions are used at.

For each package that is installed, the program of its public functions in scripts/world is run under `mlp-jax audit`: a
table of its rules and of what was found. Nothing is installed or downloaded. It needs mlp_jax, and those of these that
are wanted:

    pip install optax flax equinox lineax optimistix diffrax numpyro jaxopt ott-jax e3nn-jax jax-md exojax spyx brax \\
        netket folx torax tfp-nightly distrax rlax matfree tensorcircuit-ng tokamax qwix dynamiqs pennylane kfac-jax \\
        nifty8 probdiffeq jax-galsim e3x jaxsim distreqx qpax quadax brainstate jaxdecomp flowjax phiml mujoco-mjx \\
        jaxley jax-fem ejkernel varipeps fmmax jaxoplanet aqtp keras cryojax flash-attention-jax jax-bitempered-loss \\
        jaxbessel jaxnnls jaxsnn microjaxx pyscfad slax

    scripts/run python scripts/audit_the_world.py --output rules.md
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PROGRAMS = Path(__file__).parent / "world"


def audited(program: Path, seconds: float) -> tuple[dict[str, Any], str]:
    """What the audit of a program found, and what it printed."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        audit = [sys.executable, "-m", "mlp_jax", "audit", "--seconds", str(seconds)]
        command = [*audit, "--", sys.executable, str(program)]
        environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        report = folder / "audit" / "report.json"
        return (json.loads(report.read_text(encoding="utf-8")) if report.exists() else {}), done.stdout + done.stderr


def main() -> None:
    """Print what is found as it is found, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300.0, help="for the checks of each package")
    parser.add_argument("--output", type=Path)
    parser.add_argument("packages", nargs="*", help="all that are installed, if none")
    options = parser.parse_args()
    findings: dict[tuple[str, str], dict[str, Any]] = {}
    releases = []
    for program in sorted(PROGRAMS.glob("of_*.py")):
        package = program.stem.removeprefix("of_").replace("_", "-")
        if options.packages and package not in options.packages:
            continue
        try:
            release = f"{package} {version(package)}"
        except PackageNotFoundError:
            print(f"{package} is not installed")
            continue
        started = time.monotonic()
        report, text = audited(program, options.seconds)
        print(f"--- {release}, {time.monotonic() - started:.0f} s\n{text}", flush=True)
        releases.append(release)
        for finding in report.get("findings", ()):
            use, is_ours = (finding["rule"], finding["arguments"]), finding["rule"].startswith("__main__.")
            known = findings.get(use, {"verdict": "not checked"})  # another's program may have had time
            if known["verdict"] == "not checked" and not is_ours:
                findings[use] = finding
    table = said(list(findings.values()), releases)
    print(table)
    if options.output:
        options.output.write_text(table, encoding="utf-8")


def said(findings: list[dict[str, Any]], releases: list[str]) -> str:
    """The rules, each with the kinds of arguments that it was used at and what was found, and how many had what."""
    rules: dict[str, list[str]] = {}
    for finding in findings:
        rules.setdefault(finding["rule"], []).append(finding["verdict"])
    verdicts = {rule: ", ".join(sorted(set(found))) for rule, found in rules.items()}
    lines = [f"{len(rules)} rules, of {len(findings)} kinds of arguments, in the programs of {len(releases)} packages:"]
    lines += [f"{n} {verdict}" for verdict, n in Counter(verdicts.values()).most_common()]
    lines += ["", ", ".join(releases), "", "| rule | arguments | verdict |", "|---|---|---|"]
    lines += [f"| `{rule}` | {len(found)} | {verdicts[rule]} |" for rule, found in sorted(rules.items())]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
