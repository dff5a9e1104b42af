"""The checker itself: it finds every planted fault and names its cause, and lets every right rule pass."""

import re

import pytest
from benchmarks import planted

from mlp_jax import verify

# Where each kind of fault is planted here, and what the report must say.
ACTIVATION = "the gradient for the weights of layer 2 has the {}, not"
CAUSES = {
    "first layer zero": ("shallow", "zero in every entry"),
    "first layer's sign": ("deep", "a sign"),
    "one entry dropped": ("shallow", r"right but for entry \[1, 2\], where yours is 0: dropped"),
    "one entry 10 % off": ("outputs", r"right but for entry \[2, 1\], where yours = 1.1 × reference"),
    "one row dropped": ("outputs", "right but for row 2, where yours is 0: dropped"),
    "one column dropped": ("outputs", "right but for column 3, where yours is 0: dropped"),
    "one bias dropped": ("wide", r"right but for entry \[1\], where yours is 0: dropped"),
    "bias of the first example alone": ("outputs", "example 0 alone counts"),
    "bias averaged": ("shallow", "1/7 is the length of axis 0 of y: a mean where a sum is meant"),
    "rows permuted": ("outputs", "the right numbers, shifted by 1 along axis 0"),
    "1 % off": ("half", "yours = 1.01 × reference in every entry: a constant factor"),
    "not a number": ("outputs", ""),
    "twice": ("outputs", "a factor 2 too much"),
    "transposed": ("outputs", "yours is the transpose of the reference"),
    "cotangent ignored": ("shallow", "the same for every cotangent"),
    "sum instead of mean": ("half", "5 is the length of axis 0 of y: a sum where a mean is meant"),
    "targets left out": ("shallow", "no simple cause fits"),
    "one example dropped": ("outputs", "example 1 does not count"),
    "next layer's activation": ("outputs", ACTIVATION.format("activation of layer 2")),
    "pre-activation instead of activation": ("shallow", ACTIVATION.format("pre-activation of layer 1")),
    "penalty left out": ("bfloat", "yours lacks the term 0.002 × the parameter: the derivative of an L2 penalty"),
    "penalty halved": ("shallow", "yours lacks the term 0.001 × the parameter"),
    "weights not transposed": ("outputs", "the weights of layer 2 are not transposed on the way back"),
    "biases swapped": ("outputs", r"yours is the gradient for params\[1\]\[1\]: the two are swapped"),
    "input gradient zero": ("outputs", "x: zero in every entry"),
    "f' taken at the activation": ("outputs", "is taken at its activation h, not at its pre-activation a"),
    "f' left out": ("shallow", "f' of hidden layer 1 .tanh. is left out"),
    "f' of the next layer": ("outputs", "f' of hidden layer 2 stands in place of that of hidden layer 1"),
    "f' squared": ("outputs", "f' of hidden layer 1 .sigmoid. is multiplied twice"),
    "forward rule returns twice the value": ("outputs", "primal: the forward rule returns 2 × the function's value"),
    "forward rule adds a little": ("shallow", ""),
}


def test_every_kind_of_fault_has_a_row():
    assert set(CAUSES) == set(planted.KINDS)


# An ordinary run plants half of the kinds, those that differ most in what the checker does with them.
ORDINARY = {
    "first layer zero", "one entry 10 % off", "one column dropped", "bias averaged", "rows permuted", "not a number",
    "transposed", "cotangent ignored", "one example dropped", "next layer's activation", "penalty left out",
    "f' taken at the activation", "forward rule adds a little",
}  # fmt: skip


@pytest.mark.parametrize("kind", [pytest.param(k, marks=[pytest.mark.slow] * (k not in ORDINARY)) for k in CAUSES])
def test_a_planted_fault_is_found_and_explained(kind):
    where, cause = CAUSES[kind]
    f, args = planted.network(planted.SIZES[where], kind)
    report = verify.check_vjp(f, *args)
    assert not report.passed
    assert re.search(cause, "\n".join(report.causes)), report


FAULTS, RIGHT = list(planted.faults()), list(planted.right())
# Of its networks an ordinary run checks two: all four outputs of one, and one in half precision.
SLOW = {f"network, {where}" for where in ("shallow", "deep", "wide", "bfloat")}


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case.name, marks=[pytest.mark.slow] * (case.name in SLOW)) for case in RIGHT]
)
def test_a_right_rule_passes(case):
    report = verify.check_vjp(case.f, *case.args)
    assert report.passed, report
    assert report.causes == ()


def test_the_whole_set_is_that_of_the_readme():
    assert (len(FAULTS), len(RIGHT)) == (182, 29)


# Checks of the widest network take ten times as long: of it, the kinds that an ordinary run plants nowhere.
# scripts/compare_checkers.py runs all.
IN_NUMBER = [case for case in FAULTS if case.name not in {f"{kind}, wide" for kind in ORDINARY}]


@pytest.mark.slow
@pytest.mark.parametrize("case", IN_NUMBER, ids=lambda case: case.name)
def test_faults_are_found_in_number(case):
    assert not verify.check_vjp(case.f, *case.args).passed
