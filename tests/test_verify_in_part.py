"""Rules that JAX has told that only a part is asked for, and batches: what shows under transformations alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.custom_derivatives import SymbolicZero
from test_verify import with_rule
from test_verify_doors import run

from mlp_jax import verify
from mlp_jax.verify import Verdict, transforms

X, Y = jnp.array([0.3, 0.7]), jnp.array([1.2, -0.4])


def dense(g):
    return jnp.zeros(g.aval.shape, g.aval.dtype) if isinstance(g, SymbolicZero) else g


def of_two_outputs(forgets):
    """(x y, x + y): one that forgets the gradient for y where the second output is not used."""
    f = jax.custom_vjp(lambda x, y: (x * y, x + y))

    def backward(kept, g):
        factor = 0.0 if forgets and isinstance(g[1], SymbolicZero) else 1.0
        return dense(g[0]) * kept[1] + dense(g[1]), factor * (dense(g[0]) * kept[0] + dense(g[1]))

    f.defvjp(
        lambda x, y: ((x.value * y.value, x.value + y.value), (x.value, y.value)), backward, symbolic_zeros=True
    )  # fmt: skip
    return f


def of_two_arguments(forgets):
    """Sin(x) y: one that keeps y only if y is differentiated."""
    f = jax.custom_vjp(lambda x, y: jnp.sin(x) * y)

    def onward(x, y):
        return jnp.sin(x.value) * y.value, (x.value, y.value if y.perturbed or not forgets else 0 * y.value)

    backward = lambda kept, g: (dense(g) * jnp.cos(kept[0]) * kept[1], dense(g) * jnp.sin(kept[0]))  # noqa: E731
    f.defvjp(onward, backward, symbolic_zeros=True)
    return f


def rows_of(report):
    return {row.name: row.verdict for row in report.leaves}


@pytest.mark.parametrize(
    ("made", "row"), [(of_two_outputs, "only primal[0] used"), (of_two_arguments, "only x differentiated")]
)
def test_a_rule_that_looks_at_symbolic_zeros(made, row):
    right, wrong = (verify.check_transforms(made(forgets), X, Y) for forgets in (False, True))
    assert right.passed, right
    assert rows_of(right)[row] is Verdict.OK
    assert [name for name, verdict in rows_of(wrong).items() if verdict is Verdict.WRONG] == [row], wrong


def last(k):
    return jnp.cumprod(jax.nn.sigmoid(k), 1)[:, -1]


@pytest.mark.parametrize(("rows", "passes"), [(slice(None), True), (slice(0, 1), False)])
def test_a_batch_of_one_is_enlarged(rows, passes):
    f = jax.custom_vjp(last)
    f.defvjp(lambda k: (last(k), k), lambda k, g: ((g * last(k))[:, None] * (1 - jax.nn.sigmoid(k)[rows]),))
    report = verify.check_transforms(f, jnp.ones((1, 4)))
    assert rows_of(report)["larger batch"] is (Verdict.OK if passes else Verdict.WRONG), report
    assert report.passed is passes


def test_the_rows_there_are():
    product = jax.custom_vjp(lambda x, y: x @ y)
    product.defvjp(lambda x, y: (x @ y, (x, y)), lambda a, g: (g @ a[1].T, a[0].T @ g))
    rng = np.random.default_rng(0)
    a, b = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((3, 2), (2, 4)))
    report = verify.check_transforms(product, a, b)
    assert report.passed, report
    assert {"vmap over all arguments", "vmap over all, last axes", "checkpoint", "forward over reverse"} <= set(
        rows_of(report)
    )


def test_forward_rules_have_every_order_of_second_derivatives():
    @jax.custom_jvp
    def cube(x):
        return x**3

    @jax.custom_jvp
    def slope(x):
        return 3 * x**2

    slope.defjvps(lambda t, out, x: 6 * x * t)
    cube.defjvps(lambda t, out, x: slope(x) * t)
    rows = rows_of(verify.check_transforms(cube, jnp.array([0.4, -0.9])))
    orders = [f"{outer} over {inner}" for outer in ("forward", "reverse") for inner in ("forward", "reverse")]
    assert all(rows[name] is Verdict.OK for name in orders if name in rows), rows
    assert {"forward over forward", "reverse over forward"} <= set(rows)


def test_a_rule_that_is_wrong_where_all_arguments_are_mapped():
    @jax.custom_batching.custom_vmap
    def backward(g, x, y):
        return g * y, g * x

    @backward.def_vmap
    def mapped(size, batched, g, x, y):
        rows = zip((g, x, y), batched, strict=True)
        g, x, y = (a if many else jnp.broadcast_to(a, (size, *a.shape)) for a, many in rows)
        return (g * y * (0.5 if batched[1] and batched[2] else 1.0), g * x), (True, True)

    f = jax.custom_vjp(lambda x, y: x * y)
    f.defvjp(lambda x, y: (x * y, (x, y)), lambda kept, g: backward(g, *kept))
    verdicts = rows_of(verify.check_transforms(f, X, Y))
    assert verdicts["vmap over x"] is not Verdict.WRONG  # unsupported: JAX wants a gradient like the argument there
    assert verdicts["vmap over all arguments"] is Verdict.WRONG


# --- over two devices, and what it costs ------------------------------------------------------------------------------

ON_TWO_DEVICES = """
import jax
import jax.numpy as jnp
from mlp_jax import verify


def made(times):
    product = jax.custom_vjp(lambda x, w, labels: (x @ w)[jnp.arange(len(labels)), labels])

    def backward(residuals, g):
        x, w, labels = residuals
        d = g[:, None] * jax.nn.one_hot(labels, w.shape[1])
        return d @ w.T, times() * x.T @ d, None

    product.defvjp(lambda *args: (product(*args), args), backward)
    return product


def shards():
    try:
        return jax.lax.axis_size("rows")
    except NameError:
        return 1


for times in (lambda: 1, shards):
    x, w = jax.random.normal(jax.random.key(0), (5, 3)), jax.random.normal(jax.random.key(1), (3, 2))
    report = verify.check_transforms(made(times), x, w, jnp.array([0, 1, 1, 0, 1]))
    print(*(leaf.verdict for leaf in report.leaves if "two devices" in leaf.name), report.notes)

cancels = jax.custom_vjp(lambda x: jnp.sum(x) ** 2)
cancels.defvjp(lambda x: (jnp.sum(x) ** 2, x), lambda x, g: (2 * g * jnp.sum(x) * jnp.ones_like(x),))
w = 1e3 * jax.random.normal(jax.random.key(2), (500,))
report = verify.check_transforms(cancels, jnp.concatenate([w, -w, jnp.ones(2)]))
print(*(leaf.verdict for leaf in report.leaves if "two devices" in leaf.name))
"""


def test_a_rule_over_two_devices(tmp_path):
    text = run("-c", ON_TWO_DEVICES, cwd=tmp_path, XLA_FLAGS="--xla_force_host_platform_device_count=2").stdout
    assert text.splitlines() == ["ok ok ()", "ok WRONG ()", "ok ok"]


def test_one_device_is_said():
    report = verify.check_transforms(jnp.sin, 0.5)
    assert report.notes == (transforms.ONE_DEVICE,)


@pytest.mark.parametrize(
    ("kept", "backward", "said"),
    [
        (lambda x: (x, 2 * x, 3 * x, 4 * x, 5 * x), lambda r, g: g * jnp.cos(r[0]) + 0 * sum(r), True),
        (lambda x: (x,), lambda r, g: g * jnp.cos(r[0]), False),
        (lambda x: (jnp.sum(x) - jnp.sum(x), x), lambda r, g: g * jnp.cos(r[1]) + 0 * r[0], False),
    ],
)
def test_a_rule_that_costs_more_than_none_is_told_so(kept, backward, said):
    f = with_rule(jnp.sin, lambda *args: (backward(args[:-1], args[-1]),), lambda x: (jnp.sin(x), kept(x)))
    report = verify.check_vjp(f, jnp.linspace(-1, 1, 4096).reshape(64, 64))
    assert report.passed
    assert any("costs more than none: its backward pass needs 81,920 bytes" in note for note in report.notes) is said
