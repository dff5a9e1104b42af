"""Public functions of ott-jax, called: its gradient rules are audited where they are used."""

import jax.numpy as jnp
from common import A, B, S, tried, v, within
from ott.geometry import costs, pointcloud, regularizers
from ott.math import matrix_square_root as m
from ott.math import utils as u
from ott.problems.linear import linear_problem
from ott.solvers.linear import semidiscrete, sinkhorn

geometry = pointcloud.PointCloud(A, B.T, epsilon=0.5)
tried(
    lambda: u.norm(A, axis=1),
    lambda: u.norm(v),
    lambda: u.logsumexp(A, axis=1),
    lambda: u.logsumexp(A, b=jnp.abs(A)),
    lambda: u.softmin(A, 0.5, 0),
    lambda: u.lambertw(within(0.1, 3)),
    lambda: m.sqrtm(S),
    lambda: m.sqrtm_only(S),
    lambda: m.inv_sqrtm_only(S),
    lambda: sinkhorn.Sinkhorn(implicit_diff=None)(linear_problem.LinearProblem(geometry)),
    lambda: sinkhorn.Sinkhorn()(linear_problem.LinearProblem(geometry)),
    lambda: semidiscrete._semidiscrete_loss(v[:4], linear_problem.LinearProblem(geometry)),
    lambda: costs.RegTICost(regularizers.L1()).h_legendre(v),
    lambda: costs.RegTICost(regularizers.SqL2()).h_legendre(v),
    lambda: costs.PNormP(1.5).all_pairs(A, A[:2]),
)
