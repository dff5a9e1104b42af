"""Every operation of the package with inputs at which it is checked: a row each, and more where shapes matter."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy import special

from mlp_jax.autodiff import ops
from mlp_jax.autodiff.operations import arranging, functions, linalg, products, reductions, shaping
from mlp_jax.autodiff.operations.shaping import _Slice as S


def normal(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def distribution(*shape):
    return np.random.default_rng(0).dirichlet(np.ones(shape[-1]), size=shape[:-1])


def away_from_0(*shape):
    values = normal(*shape)
    return values + np.sign(values)


def positive(*shape):
    return np.abs(normal(*shape)) + 0.5


def distinct(*shape):
    """Values without ties, for maxima."""
    return np.random.default_rng(1).permutation(np.arange(float(np.prod(shape)))).reshape(shape) / 3


def with_zeros(*shape):
    values = normal(*shape)
    values.flat[::5] = 0
    return values


def inside(*shape):
    """Of the open interval (0, 1)."""
    return np.random.default_rng([4, *shape]).uniform(0.05, 0.95, size=shape)


def definite(*shape):
    a = normal(*shape)
    return a @ a.swapaxes(-1, -2) + np.eye(shape[-1])


INDICES = np.random.default_rng(2).integers(0, 4, size=(3, 2))

# Operations of one input by the function that draws it.
OF_ONE = {
    normal: "neg square exp expm1 sin cos tanh sigmoid softplus erf erfc gelu silu identity stop_gradient "
    "zeros_like ones_like flip sum mean prod softmax log_softmax cumsum sum_of_squares tril tan "
    "arctan sinh cosh arcsinh exp2 ndtr log_ndtr nan_to_num floor ceil trunc rint round",
    positive: "sqrt log log1p rsqrt log2 log10 digamma gamma gammaln entr",
    away_from_0: "leaky_relu elu sign abs relu sum_of_magnitudes sinc cbrt reciprocal i0 i0e i1 i1e",
    distinct: "max min",
    inside: "arcsin arccos arctanh erfinv logit",
}
# A row per operation: the inputs, smooth there; attributes; and which inputs have a rule.
ROWS = [
    *((getattr(ops, name), (draw(3, 4),), {}, (0,)) for draw, names in OF_ONE.items() for name in names.split()),
    (ops.arccosh, (1 + positive(3, 4),), {}, (0,)),
    (ops.add, (normal(3, 4), normal(1, 4, seed=1)), {}, (0, 1)),
    (ops.sub, (normal(3, 1), normal(1, 4, seed=1)), {}, (0, 1)),
    (ops.mul, (normal(3, 4), normal(3, 4, seed=1)), {}, (0, 1)),
    (ops.mul, (normal(), normal(2, 3)), {}, (0, 1)),
    (ops.div, (normal(3, 4), away_from_0(3, 4)), {}, (0, 1)),
    (ops.pow, (positive(3, 4), normal(3, 4)), {}, (0, 1)),
    (ops.pow, (away_from_0(3, 4), np.array([[-2.0, 0.0, 1.0, 3.0]])), {}, (0,)),
    (ops.leaky_relu, (away_from_0(3, 4),), {"negative_slope": 0.3}, (0,)),
    (ops.parametric_relu, (away_from_0(3, 4), normal(4)), {}, (0, 1)),
    (ops.hard_tanh, (2 * away_from_0(3, 4) / 3,), {}, (0,)),
    (ops.elu, (away_from_0(3, 4),), {"alpha": 0.3}, (0,)),
    (ops.gelu, (normal(3, 4),), {"approximate": False}, (0,)),
    (ops.maxout, (distinct(3, 6),), {"pieces": 3}, (0,)),
    (ops.radial, (normal(5, 3), normal(3, 4), normal(4)), {}, (0, 1, 2)),
    (ops.astype, (normal(3, 4),), {"dtype": np.dtype("float64")}, (0,)),
    (ops.where, (normal(3, 4) > 0, normal(3, 4), normal(3, 4, seed=1)), {}, (1, 2)),
    (ops.where, (normal(3, 1) > 0, normal(1, 4), normal()), {}, (1, 2)),
    (ops.maximum, (normal(3, 4), normal(1, 4, seed=1)), {}, (0, 1)),
    (ops.maximum, (np.ones(3), np.array([0.0, 1.0, 2.0])), {}, (0, 1)),
    (ops.minimum, (normal(3, 4), normal(1, 4, seed=1)), {}, (0, 1)),
    (ops.minimum, (np.ones(3), np.array([0.0, 1.0, 2.0])), {}, (0, 1)),
    *(
        (op, (normal(3, 4), normal(3, 4, seed=1)), {}, ())
        for op in (ops.equal, ops.not_equal, ops.less, ops.less_equal, ops.greater, ops.greater_equal)
    ),
    *((op, (normal(3, 4) > 0, normal(3, 4, seed=1) > 0), {}, ()) for op in (ops.logical_and, ops.logical_or)),
    (ops.logical_not, (normal(3, 4) > 0,), {}, ()),
    (ops.bitwise_and, (np.array([6, 7]), np.array([1, 1])), {}, ()),
    (ops.bitwise_or, (np.array([6, 7]), np.array([1, 1])), {}, ()),
    (ops.bitwise_not, (np.array([6, 7]),), {}, ()),
    (ops.reshape, (normal(3, 4),), {"shape": (2, 6)}, (0,)),
    (ops.reshape, (normal(3, 4),), {"shape": -1}, (0,)),
    (ops.broadcast_to, (normal(4, 1),), {"shape": (3, 4, 2)}, (0,)),
    (ops.expand_dims, (normal(3, 4),), {"axis": (0, -1)}, (0,)),
    (ops.squeeze, (normal(3, 1, 4, 1),), {}, (0,)),
    (ops.squeeze, (normal(3, 1, 4, 1),), {"axis": -1}, (0,)),
    (ops.transpose, (normal(3, 4, 2),), {}, (0,)),
    (ops.transpose, (normal(3, 4, 2),), {"axes": (1, -1, 0)}, (0,)),
    (ops.flip, (normal(3, 4),), {"axis": 1}, (0,)),
    (shaping._concatenate, (normal(3, 4), normal(1, 4), normal(2, 4)), {"axis": 0}, (0, 1, 2)),
    (shaping._concatenate, (normal(3, 4), normal(3, 1)), {"axis": -1}, (0, 1)),
    (shaping._split, (normal(3, 4),), {"cuts": (1, 1, 3), "axis": -1}, (0,)),
    *(
        (shaping._getitem, (normal(3, 4, 2),), {"index": index}, (0,))
        for index in [
            (1,),
            (-1, Ellipsis),
            (Ellipsis, None, 0),
            (S(1, None, None), None, S(None, None, 2)),
            (S(None, None, -1), S(3, 0, -2)),
            (S(2, 2, None),),
            (Ellipsis,),
            (0, 1, 1),
        ]
    ),
    (shaping._getitem, (normal(4, 3), np.array([2, 0, 2, -1])), {"index": (shaping._Array(),)}, (0,)),
    (shaping._getitem, (normal(3, 4), np.arange(3), np.array([1, 1, 2])), {"index": (shaping._Array(),) * 2}, (0,)),
    (shaping._getitem, (normal(3, 4), np.array([2, 0])), {"index": (S(None, 2, None), shaping._Array())}, (0,)),
    *((shaping._getitem, (normal(3, 4),), {"index": (k,)}, (0,)) for k in (5, -5)),  # out of bounds: the nearest
    (shaping._getitem, (normal(3, 4), np.array([5, -7, 1])), {"index": (shaping._Array(),)}, (0,)),
    (ops.scatter_add, (normal(2, 4),), {"index": (S(1, None, None),), "shape": (3, 4)}, (0,)),
    (ops.scatter_add, (normal(4), np.array([2, 0, 2, 1])), {"index": (shaping._Array(),), "shape": (5,)}, (0,)),
    (shaping._take_along_axis, (normal(3, 4), INDICES), {"axis": 1}, (0,)),
    (shaping._take_along_axis, (normal(1, 4), INDICES), {"axis": -1}, (0,)),
    (shaping._take_along_axis, (normal(4, 2), INDICES[:, :1]), {"axis": 0}, (0,)),
    (ops.put_along_axis, (normal(3, 2), INDICES), {"shape": (3, 4), "axis": 1}, (0,)),
    (ops.sum, (normal(3, 4, 2),), {"axis": 1}, (0,)),
    (ops.sum, (normal(3, 4, 2),), {"axis": (0, 2), "keepdims": True}, (0,)),
    (ops.mean, (normal(3, 4, 2),), {"axis": (0, -1)}, (0,)),
    (ops.max, (distinct(3, 4, 2),), {"axis": (0, 2)}, (0,)),
    (ops.max, (np.array([[1.0, 1.0, 0.0], [2.0, 2.0, 2.0]]),), {"axis": 1, "keepdims": True}, (0,)),
    (ops.min, (distinct(3, 4),), {"axis": -1}, (0,)),
    (ops.argmax, (distinct(3, 4),), {"axis": 1}, ()),
    (ops.prod, (with_zeros(3, 4),), {"axis": 1}, (0,)),
    (ops.pow, (positive(3, 4), np.array([[0.0, 1.0, 2.0, -1.0]])), {}, (0, 1)),
    (ops.prod, (with_zeros(3, 4, 5),), {"axis": (0, 2), "keepdims": True}, (0,)),
    (ops.prod, (np.array([[0.0, 0.0, 3.0], [0.0, 2.0, 3.0]]),), {"axis": -1}, (0,)),
    (reductions._logsumexp, (normal(3, 4),), {}, (0,)),
    (reductions._logsumexp, (1e3 * normal(3, 4),), {"axis": 1, "keepdims": True}, (0,)),
    (ops.softmax, (normal(3, 4),), {"axis": 0}, (0,)),
    (ops.log_softmax, (normal(3, 4),), {"axis": 0}, (0,)),
    (ops.cumsum, (normal(3, 4),), {"axis": 0}, (0,)),
    (ops.matmul, (normal(3, 4), normal(4, 2)), {}, (0, 1)),
    (ops.matmul, (normal(3, 4), normal(4)), {"precision": "highest"}, (0, 1)),
    (ops.matmul, (normal(4), normal(4)), {}, (0, 1)),
    (ops.matmul, (normal(4), normal(4, 2)), {}, (0, 1)),
    (ops.matmul, (normal(3, 4), normal(4)), {}, (0, 1)),
    (ops.matmul, (normal(4), normal(5, 4, 2)), {}, (0, 1)),
    (ops.matmul, (normal(5, 3, 4), normal(4)), {}, (0, 1)),
    (ops.matmul, (normal(5, 1, 3, 4), normal(2, 4, 2)), {}, (0, 1)),
    (ops.affine, (normal(3, 4), normal(4, 2), normal(2)), {}, (0, 1, 2)),
    *(
        (products._einsum, inputs, {"subscripts": subscripts}, tuple(range(len(inputs))))
        for subscripts, *inputs in [
            ("ij,jk->ik", normal(3, 4), normal(4, 2)),
            ("ij,jk", normal(3, 4), normal(4, 2)),
            ("...ij,...jk->...ik", normal(2, 3, 4), normal(5, 2, 4, 3)),
            ("...i,i", normal(2, 1, 3), normal(3)),
            ("ii", normal(3, 3)),
            ("ij,j->i", normal(2, 1), normal(3)),
            ("ii->i", normal(3, 3)),
            ("iij,j->", normal(3, 3, 2), normal(2)),
            ("ij->j", normal(3, 4)),
            ("i,j,k->jik", normal(2), normal(3), normal(4)),
            ("ab,ab,b->a", normal(3, 4), normal(3, 4, seed=1), normal(4)),
            ("b a , a", normal(3, 4), normal(4)),
        ]
    ),
    (ops.squared_error, (normal(3, 4), normal(3, 4, seed=1)), {}, (0, 1)),
    (ops.absolute_error, (normal(3, 4), normal(3, 4, seed=1)), {}, (0, 1)),
    (ops.poisson_error, (normal(3, 4), positive(3, 4)), {}, (0, 1)),
    (ops.hinge, (normal(3, 4), 1.0 * (normal(3, 4, seed=1) > 0)), {}, (0, 1)),
    (ops.sigmoid_cross_entropy, (normal(3, 4), distribution(3, 4)), {}, (0, 1)),
    (ops.softmax_cross_entropy, (normal(3, 4), distribution(3, 4)), {}, (0, 1)),
    (ops.weighted_mean, (normal(5), distribution(5)), {}, (0, 1)),
    (ops.round, (normal(3, 4),), {"decimals": 1}, (0,)),
    *((op, (normal(3, 4),), {}, ()) for op in (ops.isnan, ops.isinf, ops.isfinite, ops.all, ops.any)),
    (ops.arctan2, (normal(3, 4), away_from_0(1, 4)), {}, (0, 1)),
    (ops.hypot, (away_from_0(3, 4), normal(1, 4)), {}, (0, 1)),
    (ops.logaddexp, (normal(3, 4), normal(1, 4)), {}, (0, 1)),
    (ops.logaddexp, (np.ones(3), np.array([1.0, 800.0, -800.0])), {}, (0, 1)),
    (ops.mod, (normal(3, 4), away_from_0(3, 4)), {}, (0, 1)),
    (ops.fmod, (normal(3, 4), away_from_0(3, 4)), {}, (0, 1)),
    (ops.floor_divide, (normal(3, 4), away_from_0(3, 4)), {}, ()),
    (ops.xlogy, (positive(3, 4), positive(1, 4)), {}, (0, 1)),
    (ops.xlog1py, (positive(3, 4), positive(1, 4)), {}, (0, 1)),
    (functions._polygamma, (positive(3, 2),), {"n": 2}, (0,)),
    (ops.argmin, (distinct(3, 4),), {"axis": 1}, ()),
    (ops.argsort, (distinct(3, 4),), {}, ()),
    (arranging._top_places, (distinct(3, 4),), {"k": 2, "axis": 0}, ()),
    (ops.cumprod, (away_from_0(3, 4),), {"axis": 1}, (0,)),
    (ops.triu, (normal(2, 3, 4),), {"k": 1}, (0,)),
    (ops.roll, (normal(3, 4),), {"shift": 2}, (0,)),
    (ops.roll, (normal(3, 4),), {"shift": (1, -1), "axis": (0, 1)}, (0,)),
    (arranging._pad, (normal(3, 4),), {"widths": ((1, 0), (2, 3)), "constant_values": 2.0}, (0,)),
    (arranging._dynamic_slice, (normal(3, 4), np.array(1), np.array(3)), {"sizes": (2, 2)}, (0,)),
    (arranging._dynamic_update_slice, (normal(3, 4), normal(2, 2), np.array(1), np.array(3)), {}, (0, 1)),
    (shaping._scatter_set, (normal(3, 4), normal(2, 4)), {"index": (S(1, None, None),)}, (0, 1)),
    (shaping._scatter_set, (normal(5), normal(2), np.array([3, 0])), {"index": (shaping._Array(),)}, (0, 1)),
    (shaping._scatter_set, (normal(3, 4), normal()), {"index": (Ellipsis, 0)}, (0, 1)),
    (shaping._scatter_plus, (normal(5), normal(3), np.array([3, 0, 3])), {"index": (shaping._Array(),)}, (0, 1)),
    (linalg.inv, (definite(2, 3, 3),), {}, (0,)),
    *((linalg.pinv, (normal(*shape),), {}, (0,)) for shape in [(5, 3), (2, 3, 5)]),
    (linalg.det, (definite(2, 3, 3),), {}, (0,)),
    (linalg.slogdet, (normal(2, 3, 3),), {}, (0,)),
    (linalg._solve, (definite(3, 3), normal(3, 2)), {}, (0, 1)),
    (linalg._solve, (definite(2, 3, 3), normal(1, 3, 2)), {}, (0, 1)),
    *(
        (linalg._triangular, (definite(3, 3), normal(3, 2)), {"lower": lower, "trans": trans}, (0, 1))
        for lower in (True, False)
        for trans in (0, 1)
    ),
    (linalg.cholesky, (definite(2, 3, 3),), {}, (0,)),
    (linalg.eigh, (definite(2, 3, 3),), {}, (0,)),
    *((linalg._svd, (normal(*shape),), {}, (0,)) for shape in [(3, 3), (5, 3), (2, 3, 5)]),
    *((linalg.qr, (normal(*shape),), {}, (0,)) for shape in [(3, 3), (2, 5, 3)]),
]


def of_linalg(name):
    """A function of jax.numpy.linalg, and ours."""
    return getattr(ops.linalg, name), getattr(jnp.linalg, name)


def of(name, where=jnp):
    """A function of JAX, and ours of the same name."""
    return getattr(ops, name), getattr(where, name)


# Compositions of operations: ours, JAX's, the inputs, and what else is given.
COMPOSITIONS = [
    *((*of(name), (normal(3, 4),), {}) for name in ("deg2rad", "rad2deg", "ravel", "flipud", "fliplr", "rot90")),
    (*of("trace"), (normal(3, 4),), {}),
    (*of("rot90"), (normal(3, 4),), {"k": -1}),
    (*of("betaln", special), (positive(3), positive(3) + 1), {}),
    (*of("log_sigmoid", jax.nn), (normal(3, 4),), {}),
    (*of("trace"), (normal(3, 4, 2),), {"offset": 1, "axis1": 1, "axis2": 0}),
    *((*of("diagonal"), (normal(3, 4, 2),), {"offset": k, "axis1": 0, "axis2": 1}) for k in (-2, 0, 1, 5)),
    *((*of("diag"), (normal(*shape),), {"k": k}) for shape in [(3,), (3, 4)] for k in (-1, 0, 2)),
    (*of("outer"), (normal(3), normal(2, 2)), {}),
    (*of("cross"), (normal(3, 4), normal(3, 4)), {"axis": 0}),
    (*of("diff"), (normal(3, 4),), {"n": 2, "axis": 0}),
    (*of("inner"), (normal(3, 4), normal(2, 4)), {}),
    (*of("kron"), (normal(2, 3), normal(3)), {}),
    (lambda x, y: ops.select([x > 1, x > y], [x, y], x * y), lambda x, y: jnp.select([x > 1, x > y], [x, y], x * y),
     (normal(3, 4), normal(3, 4, seed=1)), {}),
    (lambda x: ops.array([x[0, 0], [1.0, x[1, 1]][1]]), lambda x: jnp.array([x[0, 0], x[1, 1]]), (normal(3, 4),), {}),
    *((lambda x, name=name: getattr(ops, name)(x, 2)[1], lambda x, name=name: getattr(jnp, name)(x, 2)[1],
       (normal(2, 2, 2),), {}) for name in ("vsplit", "hsplit", "dsplit")),
    (*of("logaddexp2"), (normal(3), normal(3, seed=1)), {}),
    (*of("beta", special), (positive(3), positive(3) + 1), {}),
    (*of("multigammaln", special), (positive(3) + 2,), {"d": 3}),
    (lambda *xs: ops.einsum("ij,jk", *xs, precision="highest"), lambda *xs: jnp.einsum("ij,jk", *xs),
     (normal(3, 4), normal(4, 2)), {}),
    (*of("moveaxis"), (normal(2, 3, 4),), {"source": -1, "destination": 0}),
    (lambda *xs: ops.vstack(xs), lambda *xs: jnp.vstack(xs), (normal(3), normal(2, 3)), {}),
    (lambda *xs: ops.hstack(xs), lambda *xs: jnp.hstack(xs), (normal(2, 3), normal(2, 1)), {}),
    (lambda *xs: ops.column_stack(xs), lambda *xs: jnp.column_stack(xs), (normal(3), normal(3, 2)), {}),
    (*of("append"), (normal(3), normal(2, 2)), {}),
    (lambda x: ops.array_split(x, 3)[0], lambda x: jnp.array_split(x, 3)[0], (normal(5, 2),), {}),
    (*of("repeat"), (normal(2, 3),), {"repeats": 2}),
    (*of("repeat"), (normal(2, 3),), {"repeats": np.array([2, 0, 1]), "axis": 1}),
    *((*of("tile"), (normal(2, 3),), {"reps": reps}) for reps in (2, (2, 1), (2, 1, 3), (2,))),
    *((*of("pad"), (normal(3, 4),), {"pad_width": ((1, 2), (0, 2)), "mode": mode})
      for mode in ("constant", "edge", "reflect", "symmetric", "wrap")),
    *((*of("sort"), (normal(3, 4),), {"axis": axis}) for axis in (-1, 0, None)),
    (*of("sort"), (normal(3, 4),), {"descending": True}),
    (lambda x: ops.top_k(x, 2)[0], lambda x: jax.lax.top_k(x, 2)[0], (normal(3, 4),), {}),
    (*of("take"), (normal(3, 4), np.array([[1, 2], [1, 0]])), {"axis": 1}),
    (lambda x: ops.segment_sum(x, np.array([0, 2, 0]), 4), lambda x: jax.ops.segment_sum(x, np.array([0, 2, 0]), 4),
     (normal(3, 2),), {}),
    (lambda x, v: ops.dynamic_update_slice(x, v, (1, 1)), lambda x, v: jax.lax.dynamic_update_slice(x, v, (1, 1)),
     (normal(3, 4), normal(2, 2)), {}),
    (lambda x: ops.dynamic_slice(x, (1, 1), (2, 2)), lambda x: jax.lax.dynamic_slice(x, (1, 1), (2, 2)),
     (normal(3, 4),), {}),
    *((*of(name), (normal(3, 4),), given) for name in ("var", "std") 
      for given in ({}, {"axis": 1, "ddof": 1}, {"axis": 0, "where": distinct(3, 4) % 1 > 0.3})),
    *((*of(name), (normal(3, 4),), {"axis": 1, "where": normal(3, 4) > 0, "initial": 0.3})
      for name in ("sum", "prod", "max", "min")),
    (*of("mean"), (normal(3, 4),), {"axis": 0, "where": normal(3, 4) < 0.8, "keepdims": True}),
    (*of("logsumexp", jax.nn), (normal(3, 4),), {"axis": 1, "where": np.arange(12).reshape(3, 4) % 3 > 0}),
    *((*of("logsumexp", jax.nn), (normal(3, 4),), {"axis": axis, "b": positive(3, 4)}) for axis in (0, None)),
    (lambda x: ops.einsum(x, [0, 1], x, [2, 1], [0, 2]), lambda x: jnp.einsum(x, [0, 1], x, [2, 1], [0, 2]),
     (normal(3, 4),), {}),
    (lambda x, w: ops.conv_general_dilated(x, w, (1, 1), "SAME"),
     lambda x, w: jax.lax.conv_general_dilated(x, w, (1, 1), "SAME"), (normal(2, 3, 4, 4), normal(2, 3, 3, 3)), {}),
    (*of("convolve"), (normal(5), normal(3)), {}),
    (*of_linalg("solve"), (definite(3, 3), normal(3)), {}),
    (ops.linalg.solve_triangular, jax.scipy.linalg.solve_triangular, (definite(3, 3), normal(3)), {"trans": "T"}),
    (*of_linalg("eigvalsh"), (definite(3, 3),), {}),
    (*of_linalg("svdvals"), (normal(4, 3),), {}),
    *((*of_linalg("norm"), (away_from_0(3, 4),), given) for given in (
        {}, {"axis": 1, "keepdims": True}, {"ord": 1, "axis": 0}, {"ord": 3, "axis": 1}, {"ord": np.inf, "axis": 1},
        {"ord": "nuc"}, {"ord": 2, "axis": (1, 0), "keepdims": True}, {"ord": 1}, {"ord": -np.inf}, {"ord": "fro"})),
]  # fmt: skip
