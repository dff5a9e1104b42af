#!/usr/bin/env python
"""How often mlp_jax.verify.check_vjp is wrong about random gradient rules, right and with one fault.

    scripts/run python scripts/checker_error_rates.py [--draws N] [--first SEED] [--json FILE] [--seconds BUDGET]
    scripts/run python scripts/checker_error_rates.py --show SEED

The rules are those of benchmarks/generated.py, which knows no checker. A wrong rule is missed if the report passes, or
the checker refuses or breaks; a right rule is rejected if the report does not pass. Intervals: Clopper–Pearson,
95 %. An error is listed with its seed.
"""

import argparse
import collections
import itertools
import json
import statistics
import sys
import time
from pathlib import Path

import jax
from benchmarks import generated
from benchmarks.generated import Generated
from scipy.stats import beta

from mlp_jax import verify


def verdict(case: Generated) -> str:
    """What the checker says: passed, failed, refused, or how it broke, also where it says that the function did."""
    try:
        report = verify.check_vjp(case.f, *case.args)
        broke = any(leaf.verdict.name == "RAISED" for leaf in report.leaves)
        return "passed" if report.passed else "raised" if broke else "failed"
    except verify.CannotCheck as error:
        return f"refused: {error}"
    except Exception as error:
        return f"broke: {type(error).__name__}: {error}"


def is_error(case: Generated, said: str) -> bool:
    """Whether the checker is wrong about a case."""
    return said != ("passed" if case.correct else "failed")


def rate(errors: int, n: int) -> str:
    """A rate of errors with its interval of 95 %."""
    low = float(beta.ppf(0.025, errors, n - errors + 1)) if errors else 0.0
    high = float(beta.ppf(0.975, errors + 1, n - errors)) if errors < n else 1.0
    return f"{errors} of {n} ({100 * errors / max(n, 1):.2f} %, 95 % from {100 * low:.2f} to {100 * high:.2f} %)"


def show(seed: int) -> None:
    """Print a program and what the checker says of both rules."""
    for case in generated.draw(seed):
        print(f"--- {case.name}, {type(case.f).__name__}\n{case.program}")
        try:
            print(verify.check_vjp(case.f, *case.args))
        except Exception as error:
            print(f"{type(error).__name__}: {error}")


def main() -> None:
    """Check the draws and print the rates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=100, help="of a right and a wrong rule each (default 100)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--json", type=Path, help="write every verdict")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no further draw after so long")
    parser.add_argument("--show", type=int, metavar="SEED", help="print the reports of one draw")
    options = parser.parse_args()
    if options.show is not None:
        return show(options.show)
    started, seconds, rows = time.perf_counter(), [], []
    errors: dict[bool, int] = {True: 0, False: 0}
    for n, seed in enumerate(range(options.first, options.first + options.draws), 1):
        if time.perf_counter() - started > options.seconds:
            break
        for case in generated.draw(seed):
            began = time.perf_counter()
            said = verdict(case)
            seconds.append(time.perf_counter() - began)
            rows.append({"seed": seed, "correct": case.correct, "kind": case.kind, "said": said, "at tie": case.at_tie})
            if is_error(case, said):
                errors[case.correct] += 1
                tie = ", at a tie" if case.at_tie else ""
                print(f"\r{'rejected' if case.correct else 'missed'}: {case.name}{tie} ({said})", flush=True)
        progress = f"{n} of {options.draws}: {errors[False]} missed, {errors[True]} rejected"
        print(f"\r{progress}, {time.perf_counter() - started:.0f} s ", end="", file=sys.stderr, flush=True)
        if n % 25 == 0:
            jax.clear_caches()  # or memory fills
    print()
    for correct, at_tie in itertools.product((False, True), (False, True)):
        of = [row for row in rows if row["correct"] == correct and row["at tie"] == at_tie]
        wrongly = sum(row["said"] != ("passed" if correct else "failed") for row in of)
        name = "right rules rejected" if correct else "wrong rules missed"
        print(f"{name}{' at ties' if at_tie else ''}: {rate(wrongly, len(of))}")
    print(f"{statistics.median(seconds):.1f} s a check (median)\n\n| kind | missed | of |\n|---|---|---|")
    kinds = collections.Counter(row["kind"] for row in rows if not row["correct"])
    missed = collections.Counter(row["kind"] for row in rows if not row["correct"] and row["said"] != "failed")
    for kind, count in sorted(kinds.items(), key=lambda item: (-missed[item[0]], -item[1], item[0])):
        print(f"| {kind} | {missed[kind]} | {count} |")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
