"""Print how many lines the package and its parts have, with docstrings and comments, beside their budgets."""

from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "mlp_jax"
BUDGETS = (
    ("the chapter: autodiff without drawing, mlp, training/step", ("autodiff", "mlp", "training/step"), 4_500),
    ("verify", ("verify",), 3_000),
    ("the package", (".",), 11_500),
)


def lines(folders: tuple[str, ...]) -> int:
    """Of all files below these folders; of drawing only as a part of the whole."""
    files = [file for folder in folders for file in (PACKAGE / folder).rglob("*.py")]
    counted = [file for file in files if folders == (".",) or "drawing" not in file.parts]
    return sum(len(file.read_text(encoding="utf-8").splitlines()) for file in counted)


print(f"{'lines':60}{'now':>8}{'budget':>8}")
for what, folders, budget in BUDGETS:
    print(f"{what:60}{lines(folders):8,}{budget:8,}")
