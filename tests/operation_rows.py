"""Every operation of the package with inputs at which it is checked: a row each, and more where shapes matter."""

import numpy as np

from mlp_jax.autodiff import ops
from mlp_jax.autodiff.operations import products, shaping
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


INDICES = np.random.default_rng(2).integers(0, 4, size=(3, 2))

# A row per operation: the inputs, smooth there; attributes; and which inputs have a rule.
ROWS = [
    (ops.add, (normal(3, 4), normal(1, 4, seed=1)), {}, (0, 1)),
    (ops.sub, (normal(3, 1), normal(1, 4, seed=1)), {}, (0, 1)),
    (ops.mul, (normal(3, 4), normal(3, 4, seed=1)), {}, (0, 1)),
    (ops.mul, (normal(), normal(2, 3)), {}, (0, 1)),
    (ops.div, (normal(3, 4), away_from_0(3, 4)), {}, (0, 1)),
    (ops.neg, (normal(3, 4),), {}, (0,)),
    (ops.pow, (positive(3, 4), normal(3, 4)), {}, (0, 1)),
    (ops.pow, (away_from_0(3, 4), np.array([[-2.0, 0.0, 1.0, 3.0]])), {}, (0,)),
    (ops.square, (normal(3, 4),), {}, (0,)),
    (ops.sqrt, (positive(3, 4),), {}, (0,)),
    (ops.exp, (normal(3, 4),), {}, (0,)),
    (ops.expm1, (normal(3, 4),), {}, (0,)),
    (ops.log, (positive(3, 4),), {}, (0,)),
    (ops.log1p, (positive(3, 4),), {}, (0,)),
    (ops.sin, (normal(3, 4),), {}, (0,)),
    (ops.cos, (normal(3, 4),), {}, (0,)),
    (ops.tanh, (normal(3, 4),), {}, (0,)),
    (ops.sigmoid, (normal(3, 4),), {}, (0,)),
    (ops.softplus, (normal(3, 4),), {}, (0,)),
    (ops.erf, (normal(3, 4),), {}, (0,)),
    (ops.erfc, (normal(3, 4),), {}, (0,)),
    (ops.leaky_relu, (away_from_0(3, 4),), {}, (0,)),
    (ops.leaky_relu, (away_from_0(3, 4),), {"negative_slope": 0.3}, (0,)),
    (ops.parametric_relu, (away_from_0(3, 4), normal(4)), {}, (0, 1)),
    (ops.hard_tanh, (2 * away_from_0(3, 4) / 3,), {}, (0,)),
    (ops.elu, (away_from_0(3, 4),), {}, (0,)),
    (ops.elu, (away_from_0(3, 4),), {"alpha": 0.3}, (0,)),
    (ops.gelu, (normal(3, 4),), {}, (0,)),
    (ops.gelu, (normal(3, 4),), {"approximate": False}, (0,)),
    (ops.silu, (normal(3, 4),), {}, (0,)),
    (ops.maxout, (distinct(3, 6),), {"pieces": 3}, (0,)),
    (ops.radial, (normal(5, 3), normal(3, 4), normal(4)), {}, (0, 1, 2)),
    (ops.identity, (normal(3, 4),), {}, (0,)),
    (ops.stop_gradient, (normal(3, 4),), {}, (0,)),
    (ops.zeros_like, (normal(3, 4),), {}, (0,)),
    (ops.ones_like, (normal(3, 4),), {}, (0,)),
    (ops.astype, (normal(3, 4),), {"dtype": np.dtype("float64")}, (0,)),
    (ops.where, (normal(3, 4) > 0, normal(3, 4), normal(3, 4, seed=1)), {}, (1, 2)),
    (ops.where, (normal(3, 1) > 0, normal(1, 4), normal()), {}, (1, 2)),
    (ops.sign, (away_from_0(3, 4),), {}, (0,)),
    (ops.abs, (away_from_0(3, 4),), {}, (0,)),
    (ops.relu, (away_from_0(3, 4),), {}, (0,)),
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
    (ops.flip, (normal(3, 4),), {}, (0,)),
    (ops.flip, (normal(3, 4),), {"axis": 1}, (0,)),
    (shaping._concatenate, (normal(3, 4), normal(1, 4), normal(2, 4)), {"axis": 0}, (0, 1, 2)),
    (shaping._concatenate, (normal(3, 4), normal(3, 1)), {"axis": -1}, (0, 1)),
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
    (ops.sum, (normal(3, 4),), {}, (0,)),
    (ops.sum, (normal(3, 4, 2),), {"axis": 1}, (0,)),
    (ops.sum, (normal(3, 4, 2),), {"axis": (0, 2), "keepdims": True}, (0,)),
    (ops.mean, (normal(3, 4),), {}, (0,)),
    (ops.mean, (normal(3, 4, 2),), {"axis": (0, -1)}, (0,)),
    (ops.max, (distinct(3, 4),), {}, (0,)),
    (ops.max, (distinct(3, 4, 2),), {"axis": (0, 2)}, (0,)),
    (ops.max, (np.array([[1.0, 1.0, 0.0], [2.0, 2.0, 2.0]]),), {"axis": 1, "keepdims": True}, (0,)),
    (ops.min, (distinct(3, 4),), {}, (0,)),
    (ops.min, (distinct(3, 4),), {"axis": -1}, (0,)),
    (ops.argmax, (distinct(3, 4),), {"axis": 1}, ()),
    (ops.prod, (normal(3, 4),), {}, (0,)),
    (ops.prod, (with_zeros(3, 4),), {"axis": 1}, (0,)),
    (ops.pow, (positive(3, 4), np.array([[0.0, 1.0, 2.0, -1.0]])), {}, (0, 1)),
    (ops.prod, (with_zeros(3, 4, 5),), {"axis": (0, 2), "keepdims": True}, (0,)),
    (ops.prod, (np.array([[0.0, 0.0, 3.0], [0.0, 2.0, 3.0]]),), {"axis": -1}, (0,)),
    (ops.logsumexp, (normal(3, 4),), {}, (0,)),
    (ops.logsumexp, (1e3 * normal(3, 4),), {"axis": 1, "keepdims": True}, (0,)),
    (ops.softmax, (normal(3, 4),), {}, (0,)),
    (ops.softmax, (normal(3, 4),), {"axis": 0}, (0,)),
    (ops.log_softmax, (normal(3, 4),), {}, (0,)),
    (ops.log_softmax, (normal(3, 4),), {"axis": 0}, (0,)),
    (ops.cumsum, (normal(3, 4),), {}, (0,)),
    (ops.cumsum, (normal(3, 4),), {"axis": 0}, (0,)),
    (ops.matmul, (normal(3, 4), normal(4, 2)), {}, (0, 1)),
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
    (ops.sum_of_squares, (normal(3, 4),), {}, (0,)),
    (ops.sum_of_magnitudes, (away_from_0(3, 4),), {}, (0,)),
]
