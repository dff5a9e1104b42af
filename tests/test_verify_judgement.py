"""The theory of verdicts, on tables of plain numbers: no program is run here."""

import numpy as np
import pytest

from mlp_jax.verify import Verdict, policy
from mlp_jax.verify.entries import Outcome, Side, decide, decide_by_name
from mlp_jax.verify.findings import Where, Why
from mlp_jax.verify.judgement import along_directions, judge
from mlp_jax.verify.lines import contradicted
from mlp_jax.verify.one_leaf import gradient, value
from mlp_jax.verify.policy import FLOAT64, Precision
from mlp_jax.verify.slopes import Slopes, slopes, times
from mlp_jax.verify.table import Lines, Table

SINGLE = Precision("float32", 2.0**-23, 2.0**-126, 2.0**128, 8)
HALF = Precision("bfloat16", 2.0**-7, 2.0**-126, 2.0**128, 8)
FACTORS = np.array([-(2.0**20), 2.0**-20, 0.0])
RIGHT = np.array([[1.0, -2.0, 3.0], [0.5, 0.25, -1.0], [2.0, 1.0, 0.0], [1.0, 0.0, 3.0]])
EVERY = np.concatenate([RIGHT, FACTORS[:, None] * RIGHT[:1]])


def table(yours=EVERY, own=None, reference=RIGHT, precision=SINGLE, **columns):
    """A table of one output and one leaf with three entries, four cotangents and three multiples of the first."""
    usual = {
        "leaves": [np.array([0.3, 0.4, 0.5])],
        "precisions": [precision],
        "output_precisions": [precision],
        "cotangents": [np.concatenate([np.ones((4, 1)), FACTORS[:, None]])],
        "factors": FACTORS,
        "values": [np.array([2.0])],
        "your_values": [np.array([2.0])],
        "own_values": [np.array([2.0])],
    }
    own = yours if own is None else own
    return Table(**(usual | columns), yours=[yours], own=[own], reference=None if reference is None else [reference])


@pytest.fixture(autouse=True)
def as_the_experiment_does():
    with np.errstate(all="ignore"):
        yield


def answered(t, **spreads):
    """The table with small spreads, and with a Rounded one that is asked for by its precision."""
    nothing = ([np.zeros(1)], [np.zeros(3)])
    for question, name in ((("native",), "native"), (("rounded", False), "rounded"), (("rounded", True), "in_float64")):
        spread = spreads.get(name)
        t.answers[question] = nothing if spread is None else ([np.zeros(1)], [np.asarray(spread)])
    t.answers["constants",] = ([np.zeros(1)], [np.asarray(spreads.get("constants", np.zeros(3)))])
    t.answers["neighbours",] = [np.broadcast_to(RIGHT, (14, 4, 3))]
    t.answers["outside_jit",] = None
    return t


def with_slopes(t, entries, left, right, error=1e-12):
    """Slopes (cotangents,) of some entries from values, the same for all of them but for the cotangent."""
    left, right = (np.stack([np.asarray(side, float)] * len(entries)) for side in (left, right))
    t.answers["entries", 0, entries] = Slopes(left, np.full(left.shape, error), right, np.full(right.shape, error))
    return t


# --- slopes from values -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phi", "left", "right", "within"),
    [
        (np.sin, 1.0, 1.0, 1e-11),
        (lambda t: np.exp(3 * t), 3.0, 3.0, 1e-9),
        (np.abs, -1.0, 1.0, 1e-12),
        (lambda t: np.maximum(t, 0) ** 2, 0.0, 0.0, 1e-9),
        (lambda t: np.logaddexp(0, 1e6 * t), 5e5, 5e5, 1),  # both slopes are straight lines for longer steps
        (lambda t: 1e6 + np.sin(t), 1.0, 1.0, 1e-3),
    ],
)
def test_slopes_on_both_sides_and_an_error_that_holds(phi, left, right, within):
    values = phi(times(policy.STEPS))[None, :, None]
    found = slopes(policy.STEPS, values, np.abs(values), policy.VALUE_NOISE * FLOAT64.eps)
    for slope, error, truth in ((found.left, found.left_error, left), (found.right, found.right_error, right)):
        assert abs(slope[0, 0] - truth) <= policy.ERROR_FACTOR * error[0, 0]
        assert abs(slope[0, 0] - truth) <= within


def test_beyond_the_domain_no_slope_is_known():
    with np.errstate(all="ignore"):
        values = np.sqrt(times(policy.STEPS))[None, :, None]
    found = slopes(policy.STEPS, values, np.abs(values), policy.VALUE_NOISE * FLOAT64.eps)
    assert found.left_error[0, 0] == np.inf


# --- one entry --------------------------------------------------------------------------------------------------------

BOTH = [Side(2.0, 1e-9), Side(2.0, 1e-9)]
KINK = [Side(0.0, 1e-9), Side(1.0, 1e-9)]
UNKNOWN = [Side(np.nan, np.inf), Side(np.nan, np.inf)]


@pytest.mark.parametrize(
    ("yours", "reference", "allowed", "sides", "near", "outcome"),
    [
        (2.0, 2.0, 1e-7, BOTH, 2.0, "RIGHT"),
        (2.0, 1.0, 1e-7, BOTH, 1.0, "RIGHT"),  # reverse mode is wrong, as at a tie inside the function
        (1.0, 1.0, 1e-7, BOTH, 1.0, "WRONG"),  # and so is yours, if it copies it
        (np.nan, 2.0, 1e-7, BOTH, 2.0, "WRONG"),
        (2.0 + 1e-10, 2.0, 1e-12, BOTH, 2.0, "WRONG"),  # values cannot tell them apart: reverse mode decides
        (0.3, 0.5, 1e-7, KINK, 0.5, "KINK"),
        (1.0, 0.5, 1e-7, KINK, 0.5, "KINK"),
        (1.2, 0.5, 1e-7, KINK, 0.5, "WRONG"),
        (-0.1, 0.5, 1e-7, KINK, 0.5, "WRONG"),
        (1.2, 0.5, 1e-7, KINK, 1.3, "KINK"),  # a slope that the function has beside the point
        (1.5, np.nan, 1e-7, [UNKNOWN[0], Side(1.5, 1e-9)], np.nan, "RIGHT"),  # the end of a domain
        (1.4, np.nan, 1e-7, [UNKNOWN[0], Side(1.5, 1e-9)], np.nan, "WRONG"),
        (2.1, 2.0, 1e-7, UNKNOWN, 2.0, "WRONG"),  # values tell nothing, reverse mode is smooth
        (0.0, np.nan, 1e-7, UNKNOWN, np.nan, "NO_DERIVATIVE"),
        (5.0, np.nan, 1e-7, UNKNOWN, np.nan, "UNDECIDED"),
        (4e-18, 0.0, 0.0, [Side(0.0, 1e-9)] * 2, [0.0, 1e-3], "UNSEEN"),
        (2.0, 1.0, 1e-7, [Side(1.9, 5.0), Side(2.1, 5.0)], [1.0, 3.0], "UNSEEN"),
    ],
)
def test_what_the_witnesses_say_of_an_entry(yours, reference, allowed, sides, near, outcome):
    near = np.resize(np.asarray(near, float), 14)
    assert decide(yours, reference, allowed, sides, near).outcome is Outcome[outcome]


def test_a_named_reference_is_not_doubted():
    near = np.array([0.0, 1.0] * 7)
    assert decide_by_name(0.4, 0.0, 1e-7, near).outcome is Outcome.KINK
    assert decide_by_name(1.4, 0.0, 1e-7, near).outcome is Outcome.WRONG
    assert decide_by_name(0.4, 0.0, 1e-7, np.zeros(14)).outcome is Outcome.WRONG


# --- one leaf ---------------------------------------------------------------------------------------------------------


def test_the_reference_itself_passes_with_nothing_measured():
    found = gradient(table(), 0)
    assert (found.verdict, found.error, found.why) == (Verdict.OK, 0.0, frozenset())


@pytest.mark.parametrize("off", [1e-7, -3e-7])
def test_units_of_the_last_place_pass(off):
    assert gradient(table(EVERY * (1 + off)), 0).verdict is Verdict.OK


def test_what_nobody_sees_passes_with_a_note():
    yours = EVERY.copy()
    yours[2, 2] += 1e-9  # 0 in the reference, beside entries of 3
    assert gradient(table(yours), 0).why == {Why.NEGLIGIBLE}


def test_a_gross_fault_is_wrong_by_two_witnesses_and_no_rounding_is_measured():
    yours = EVERY.copy()
    yours[:, 1] *= 1.1
    t = with_slopes(table(yours), (1,), RIGHT[:, 1], RIGHT[:, 1])
    t.answers["neighbours",] = [np.broadcast_to(RIGHT, (14, 4, 3))]
    found = gradient(t, 0)
    assert (found.verdict, found.entry, found.where) == (Verdict.WRONG, 1, Where.EXACTLY)
    assert set(t.answers) == {("entries", 0, (1,)), ("neighbours",)}


def test_a_small_fault_is_wrong_beyond_what_constants_and_digits_explain():
    yours = EVERY * np.array([1, 1 + 1e-5, 1])
    t = with_slopes(answered(table(yours)), (1,), RIGHT[:, 1], RIGHT[:, 1])
    assert gradient(t, 0).verdict is Verdict.WRONG
    assert gradient(answered(table(yours), constants=[0, 3e-5, 0]), 0).verdict is Verdict.OK
    found = gradient(answered(table(yours), in_float64=[0, 1e-5, 0]), 0)
    assert (found.verdict, found.why) == (Verdict.OK, {Why.REFERENCE_WITHOUT_DIGITS})


def test_the_allowance_does_not_grow_with_the_fault():
    nothing = 0 * EVERY
    t = with_slopes(answered(table(nothing, precision=HALF)), (0, 1, 2), RIGHT[:, 0], RIGHT[:, 0])
    t.answers["entries", 0, (0, 1, 2)] = Slopes(RIGHT.T, 0 * RIGHT.T, RIGHT.T, 0 * RIGHT.T)
    assert gradient(t, 0).verdict is Verdict.ZERO_EVERYWHERE


@pytest.mark.parametrize(("kept", "verdict"), [(0.97, Verdict.OK), (0.64, Verdict.WRONG)])
def test_a_right_formula_keeps_half_its_digits_in_the_users_precision(kept, verdict):
    found = gradient(answered(table(own=kept * EVERY, precision=HALF)), 0)
    assert found.verdict is verdict
    assert found.passes or found.where is Where.IN_YOUR_PRECISION


def test_a_precision_that_shows_nothing_is_said():
    found = gradient(answered(table(own=0.5 * EVERY), native=[1.0] * 3, rounded=[1.0, 2, 3]), 0)
    assert (found.verdict, found.why) == (Verdict.OK, {Why.BLIND})


def test_a_sum_that_stands_still_does_not_hide_behind_a_reference_that_does():
    own = 0.64 * EVERY
    t = answered(table(own=own, precision=HALF), native=0.36 * np.abs(RIGHT[0]), rounded=0.002 * np.abs(RIGHT[0]))
    assert gradient(t, 0).where is Where.IN_YOUR_PRECISION


def test_not_linear_in_the_gradient_that_arrives():
    yours = EVERY.copy()
    yours[4] = 1e5  # clipped
    t = with_slopes(table(yours), (0, 1, 2), RIGHT[:, 0], RIGHT[:, 0])
    t.answers["entries", 0, (0, 1, 2)] = Slopes(RIGHT.T, 0 * RIGHT.T, RIGHT.T, 0 * RIGHT.T)
    t.answers["neighbours",] = [np.broadcast_to(RIGHT, (14, 4, 3))]
    found = gradient(t, 0)
    assert (found.verdict, found.why) == (Verdict.WRONG, {Why.NOT_LINEAR})


def test_values_decide_against_reverse_mode():
    true = np.array([1.0, 1.0, 1.0, 1.0])
    yours = EVERY.copy()
    yours[:, 1] = np.concatenate([true, FACTORS])
    t = with_slopes(answered(table(yours)), (1,), true, true)
    found = gradient(t, 0)
    assert (found.verdict, found.why) == (Verdict.OK, {Why.JAX_DIFFERS})


def test_one_undecided_entry_does_not_hide_a_wrong_one():
    yours = EVERY * np.array([2.0, 1, 2.0])
    nothing = np.full(4, np.nan)
    t = answered(table(yours))
    left = np.stack([RIGHT[:, 0], nothing])
    t.answers["entries", 0, (0, 2)] = Slopes(
        left, np.where(np.isnan(left), np.inf, 0), left, np.where(np.isnan(left), np.inf, 0)
    )
    t.answers["neighbours",] = [np.broadcast_to(np.random.default_rng(0).normal(size=(14, 1, 1)), (14, 4, 3))]
    found = gradient(t, 0)
    assert (found.verdict, found.entry) == (Verdict.WRONG, 0)


def test_without_a_reference_values_decide_alone():
    t = table(reference=None)
    t.answers["entries", 0, (0, 1, 2)] = Slopes(RIGHT.T, 0 * RIGHT.T, RIGHT.T, 0 * RIGHT.T)
    assert gradient(t, 0).verdict is Verdict.OK
    t = table(1.01 * EVERY, reference=None)
    t.answers["entries", 0, (0, 1, 2)] = Slopes(RIGHT.T, 0 * RIGHT.T, RIGHT.T, 0 * RIGHT.T)
    assert gradient(t, 0).verdict is Verdict.WRONG


# --- outputs, directions, elsewhere -----------------------------------------------------------------------------------


def test_the_forward_rule_returns_the_value_and_infinity_where_it_is_infinite():
    assert value(table(), 0).verdict is Verdict.OK
    infinite = {"values": [np.array([np.inf])], "own_values": [np.array([np.inf])]}
    assert value(table(**infinite, your_values=[np.array([np.inf])]), 0).verdict is Verdict.OK
    assert value(answered(table(**infinite, your_values=[np.array([1e9])])), 0).verdict is Verdict.PRIMAL
    assert value(answered(table(your_values=[np.array([2.002])])), 0).verdict is Verdict.PRIMAL


def lines(left, right):
    directions = [np.ones((1, 3))]
    nothing = np.zeros((1, 4))
    return Lines(directions, Slopes(np.array([left], float), nothing, np.array([right], float), nothing))


def test_entries_that_pass_alone_may_be_wrong_together():
    whole = np.concatenate([np.ones((4, 3)), FACTORS[:, None] * np.ones((1, 3))])  # to each of three ties
    t = table(whole, reference=whole[:4] / 3, leaves=[np.ones(3) * 2])
    t.answers["rounded", True] = ([np.zeros(1)], [np.zeros(3)])
    for carefully in (False, True):
        t.answers["along", 0, carefully] = lines([1, 1, 1, 1], [1, 1, 1, 1])
    found = contradicted(t, 0)
    assert (found.verdict, found.yours, found.right, found.where) == (Verdict.WRONG, 3.0, 1.0, Where.ALONG)
    t.answers["neighbours",] = [np.broadcast_to(whole[:4], (14, 4, 3))]
    t.answers["other_pieces",] = [np.broadcast_to(whole[:4] / 3, (8, 4, 3))]
    t.answers["along", 0, False] = lines([1, 1, 1, 1], [2, 1, 1, 1])  # a kink for the first cotangent
    assert contradicted(t, 0) is None


def test_a_named_reference_is_not_held_to_values():
    assert along_directions(table(named=True), []) == []


def judged(t):
    t.answers["along", None, False] = lines(*[RIGHT.sum(axis=1)] * 2)
    return judge(t)


def test_all_findings_of_a_right_table():
    found = judged(answered(table()))
    assert found.passes
    assert [f.verdict for f in (*found.leaves, *found.outputs)] == [Verdict.OK, Verdict.OK]


def test_outside_jit_the_rule_is_the_same():
    t = answered(table())
    t.answers["outside_jit",] = [2 * RIGHT[0]]
    (leaf,) = judged(t).leaves
    assert (leaf.verdict, leaf.where) == (Verdict.WRONG, Where.OUTSIDE_JIT)


def test_the_rule_is_tried_beside_what_is_1_everywhere():
    t = answered(table(leaves=[np.ones(3)]))
    wrong = EVERY * np.array([1.1, 1, 1])
    beside = with_slopes(answered(table(wrong)), (0,), RIGHT[:, 0], RIGHT[:, 0])
    t.answers["beside", (0,), 1] = beside
    (leaf,) = judged(t).leaves
    assert (leaf.verdict, leaf.where) == (Verdict.WRONG, Where.BESIDE)


def test_a_table_asks_for_what_it_lacks():
    def measure(t, *question):
        asked.append(question)
        return {("neighbours",): [np.broadcast_to(RIGHT, (14, 4, 3))]}.get(question, every)

    asked, every = [], Slopes(RIGHT.T, 0 * RIGHT.T, RIGHT.T, 0 * RIGHT.T)
    assert gradient(table(EVERY * 1.1, measure=measure), 0).verdict is Verdict.WRONG
    assert asked == [("neighbours",), ("entries", 0, (0, 1, 2))]


@pytest.mark.parametrize(
    ("off", "passes"),
    [
        ([0, 0, 1e-8], True),  # a tail: 1e-4 of its own entry, a hundredth of a unit of the largest
        ([0, 0, 1e-6], False),  # 1 % of its own entry
        ([1e-4, 0, 0], False),  # of the largest entry itself
    ],
)
def test_lost_digits_far_below_the_largest_entry_are_a_tail(off, passes):
    small = RIGHT.copy()
    small[:, 2] = 1e-4
    every = np.concatenate([small, FACTORS[:, None] * small[:1]])
    yours = every + np.concatenate([np.ones(4), FACTORS])[:, None] * np.array(off)
    t = with_slopes(
        answered(table(yours=yours, reference=small)), (int(np.argmax(off)),), *[small[:, np.argmax(off)]] * 2
    )
    finding = gradient(t, 0)
    assert finding.passes is passes
    assert (Why.TAIL in finding.why) is passes


def test_there_is_no_tail_in_float64():
    yours = EVERY + 1e-12 * np.concatenate([np.ones(4), FACTORS])[:, None] * np.array([0, 0, 1])
    t = with_slopes(answered(table(yours=yours, precision=FLOAT64)), (2,), RIGHT[:, 2], RIGHT[:, 2])
    assert not gradient(t, 0).passes
