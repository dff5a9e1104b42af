"""Each cause that the checker names, by itself: right and wrong numbers in, a sentence out. No JAX is called."""

from functools import partial

import numpy as np
import pytest

from mlp_jax.verify import examples, layers
from mlp_jax.verify.hypotheses import HYPOTHESES, Facts, cause, place_alone

rng = np.random.default_rng(0)
POINTS, ROWS = 2, 4
x, other = rng.normal(size=(2, POINTS, 1, 5, 4))
g = rng.normal(size=(1, ROWS, 5, 4))
slope = 1 - np.tanh(x) ** 2
R = g * slope  # the right gradient of tanh
SQUARE = rng.normal(size=(POINTS, ROWS, 4, 4))


def of_tanh(yours, **more):
    """Facts on a rule for h = tanh(x)."""
    facts = {"arguments": {"x": x, "w": other}, "outputs": {"h": np.tanh(x)}, "arriving": [g]}
    pull = lambda cotangents: cotangents[0] * slope  # noqa: E731
    at = lambda arguments: g * (1 - np.tanh(arguments.get("x", x)) ** 2)  # noqa: E731
    return Facts("x", yours, R, **{**facts, "pull": pull, "at": at, **more})


def of_matrix(yours, reference=SQUARE, **more):
    """Facts on a matrix of which nothing else is known."""
    return Facts("W", yours, reference, **more)


def without(a, *place, by=0.0):
    a = a.copy()
    a[(..., *place)] *= by
    return a


softmax = np.exp(x) / np.sum(np.exp(x), -1, keepdims=True)
centred = softmax * (g - np.sum(g * softmax, -1, keepdims=True))


def of_softmax(yours):
    return Facts("x", yours, centred, {"x": x}, {"y": softmax}, [g])


scalar_g = rng.normal(size=(1, ROWS, 1, 1))
cost = scalar_g * other  # the gradient of one number for a matrix


def of_cost(yours, **more):
    return Facts("x", yours, cost, **{"arguments": {"x": x}, "arriving": [scalar_g[..., 0, 0]], **more})


matrix = rng.normal(size=(POINTS, 1, 4, 4))
ones = np.ones_like(g)
back = g @ np.swapaxes(matrix, 2, 3)
SEVEN = {"y": np.zeros((1, 1, 7, 3))}
SAYS = {
    "zero in every entry: no gradient is returned.": of_tanh(0 * R),
    "yours = -1 × reference in every entry: a sign.": of_tanh(-R),
    "yours = 2 × reference in every entry: a factor 2 too much.": of_tanh(2 * R),
    "yours = 1.01 × reference in every entry: a constant factor.": of_tanh(1.01 * R),
    "yours = 1.00001 × reference in every entry: a constant factor.": of_tanh(1.00001 * R),
    "7 is the length of axis 0 of y: a sum where a mean is meant": of_cost(7 * cost, arguments=SEVEN),
    "the factor w is missing.": of_tanh(R / other),
    "the factor x is there once too often.": of_tanh(R * x),
    "the same for every cotangent": of_tanh(slope + 0 * R),
    "its square is used": of_tanh(g * R),
    "the absolute value of the cotangent is used": of_tanh(abs(g) * slope),
    "used only where it is positive": of_tanh(np.maximum(g, 0) * slope),
    "clipped to [-1, 1]": of_tanh(np.clip(g, -1, 1) * slope),
    "the derivative is taken at the output f(x), not at the input": of_tanh(g * (1 - np.tanh(np.tanh(x)) ** 2)),
    "yours is the gradient that arrives: f' is left out": of_tanh(g + 0 * R),
    "f' is multiplied twice": of_tanh(R * slope),
    "is multiplied by the cotangent, entry by entry": Facts(
        "x", g * (ones @ np.swapaxes(matrix, 2, 3)), back, {"x": x}, {}, [g],
        pull=lambda c: c[0] @ np.swapaxes(matrix, 2, 3),
    ),
    "the transpose of W stands in its place": Facts(
        "x", g @ matrix, back, {"x": x, "W": matrix}, {}, [g], {"W": SQUARE},
        at=lambda moved: g @ np.swapaxes(moved.get("W", matrix), 2, 3),
    ),
    "yours is the transpose of the reference.": of_matrix(np.swapaxes(SQUARE, 2, 3)),
    "yours is the gradient for V: the two are swapped": of_matrix(R[:, :, :4], others={"V": R[:, :, :4]}),
    "the right numbers, in another order along axis 1": of_tanh(R[..., [1, 0, 2, 3]]),
    "the right numbers, shifted by 1 along axis 0": of_tanh(np.roll(R, 1, 2)),
    "yours lacks the term 0.3 × the parameter: the derivative of an L2 penalty": of_cost(cost - 0.3 * scalar_g * x),
    "yours has too much of the term 0.3 × its signs": of_cost(cost + 0.3 * scalar_g * np.sign(x)),
    "5 × reference, and yours lacks the term 0.3 × the parameter": of_cost(5 * cost - 0.3 * scalar_g * x),
    "yours has too much of the term 0.001 × the gradient that arrives": of_cost(cost + 1e-3 * scalar_g),
    "yours lacks the term 1 × the gradient that arrives": of_softmax(centred - g),
    "wrong only where x < 0; there yours is 0: dropped": of_tanh(np.where(x < 0, 0, R)),
    "wrong only where x > 0; there yours = 1.5 × reference": of_tanh(np.where(x > 0, 1.5 * R, R)),
    "wrong only where x > 0; there no simple cause fits": of_tanh(np.where(x > 0, R + x**2, R)),
    "right but for entry [1, 2], where yours is 0: dropped": of_tanh(without(R, 1, 2)),
    "right but for row 2, where yours = 1.1 × reference": of_tanh(without(R, 2, slice(None), by=1.1)),
    "right but for column 3, where no simple cause fits": of_tanh(
        without(R, 3, by=np.cos(np.arange(40)).reshape(2, 4, 5))
    ),
}  # fmt: skip


@pytest.mark.parametrize("sentence", SAYS)
def test_a_cause_is_named(sentence):
    assert sentence in (cause(SAYS[sentence], [*HYPOTHESES, place_alone]) or "nothing")


def one(value):
    return np.full((1, 1), value)


@pytest.mark.parametrize(
    "facts",
    [
        Facts("x", one(6.0), one(12.0)),  # one number: any factor fits
        Facts("x", 6 * scalar_g[..., 0, 0], 7 * scalar_g[..., 0, 0]),  # one number times the cotangent
        of_matrix(SQUARE, SQUARE),
        of_matrix(SQUARE * (1 + 1e-12)),
        of_matrix(np.full_like(SQUARE, np.nan)),
        of_matrix(SQUARE + 1e-5 * np.cos(SQUARE**2)),  # small beside the largest entry, and no factor
        of_matrix(rng.normal(size=SQUARE.shape)),
        of_tanh(rng.normal(size=R.shape)),
        Facts("x", np.zeros((1, 1, 0)), np.zeros((1, 1, 0))),
    ],
)
def test_nothing_is_said_that_explains_nothing(facts):
    assert cause(facts, [*HYPOTHESES, place_alone]) is None


def test_a_bound_on_three_numbers_may_be_chance():
    b, right = x[:, :, 0, :3], R[:, :, 0, :3]
    facts = Facts("b", without(right, 0), right, {"b": b})
    assert cause(facts, HYPOTHESES) == "right but for entry [0], where yours is 0: dropped."


def test_every_hypothesis_is_tested():
    used = {h for facts in SAYS.values() for h in (*HYPOTHESES, place_alone) if cause(facts, [h])}
    assert used == {*HYPOTHESES, place_alone}


shares = rng.normal(size=(3, 1, ROWS, 5))


@pytest.mark.parametrize(
    ("yours", "sentence"),
    [
        (shares[0] + shares[2], "example 1 does not count."),
        (2 * shares[0] + shares[1] + shares[2], "example 0 counts twice."),
        (shares[2], "example 2 alone counts: the sum over examples is missing."),
    ],
)
def test_single_examples(yours, sentence):
    facts = Facts("b", yours, shares.sum(0), {}, {}, ())
    weights = {"example 1 does not count.": (1, 0, 1), "example 0 counts twice.": (2, 1, 1)}.get(sentence, (0, 0, 1))
    changed = rng.normal(size=shares.shape)
    mine = np.stack([w * (c - s) for w, c, s in zip(weights, changed, shares, strict=True)])[:, 0]
    new = {"yours": yours[0] + mine, "right": shares.sum(0)[0] + (changed - shares)[:, 0]}
    assert cause(facts, [partial(examples.of_changes, **new)]) == sentence


# --- a network by hand ------------------------------------------------------------------------------------------------

Ws = [rng.normal(size=shape) for shape in ((3, 4), (4, 4), (4, 2))]
bs = [rng.normal(size=n) for n in (4, 4, 2)]
F1 = "f' of hidden layer 1 (tanh)"
OF_W2 = "the gradient for the weights of layer 2 has"


def tanh(a):
    return layers.Unit("tanh", np.tanh(a), 1 - np.tanh(a) ** 2)


def network(edit=lambda k, name, value: value):
    """Layers at one example with the gradients of yours, with an edit, and right ones."""
    h, steps = np.array([0.3, -0.7, 1.1]), []
    for k, (W, b) in enumerate(zip(Ws, bs, strict=True)):
        a = h @ W + b
        steps.append((W, h, a, tanh(a) if k < 2 else None))
        h = np.tanh(a)

    def backward(edit):
        delta, found = np.array([1.0, -2.0]), []
        for k in reversed(range(3)):
            found.insert(0, (np.outer(edit(k, "h", steps[k][1]), delta), delta))
            if k:
                delta = (delta @ edit(k, "W", Ws[k].T)) * edit(k, "slope", steps[k - 1][3].slope)
        return found

    right, yours = backward(lambda k, name, value: value), backward(edit)
    return [layers.Layer(W, h, a, *r, *y, unit) for (W, h, a, unit), r, y in zip(steps, right, yours, strict=True)]


def at(k, part, new):
    return lambda j, name, value: new if (j, name) == (k, part) else value


def test_faults_in_the_layers_of_a_network(monkeypatch):
    monkeypatch.setattr(layers, "units", lambda a: [tanh(a)])
    first, second, third = network()
    for edit, sentence in (
        (at(1, "slope", 1.0), f"{F1} is left out"),
        (at(2, "slope", second.unit.slope ** 2), "f' of hidden layer 2 (tanh) is multiplied twice"),
        (at(1, "slope", tanh(first.unit.value).slope), f"{F1} is taken at its activation h, not"),
        (at(1, "slope", second.unit.slope), "f' of hidden layer 2 stands in place of that of hidden layer 1 (tanh)"),
        (at(1, "slope", first.a), "the pre-activation of hidden layer 1 (tanh) stands in place of its f'"),
        (at(1, "W", Ws[1]), "the weights of layer 2 are not transposed on the way back"),
        (at(1, "h", first.a), f"{OF_W2} the pre-activation of layer 1, not its activation"),
        (at(1, "h", third.h), f"{OF_W2} the activation of layer 2, not the activation of layer 1"),
        (at(1, "slope", np.ones(4) / 3), "nothing"),
    ):  # fmt: skip
        assert (next(layers.faults(network(edit)), None) or "nothing").startswith(sentence)
