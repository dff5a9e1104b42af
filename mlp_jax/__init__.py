"""mlp_jax: multilayer perceptrons as pure JAX functions, with a back-propagation that you can read.

The chapter (Goodfellow, Bengio & Courville, *Deep Learning*, chapter 6), and where each part of it stands:

| section      | what                                      | where                                                  |
| ------------ | ----------------------------------------- | ------------------------------------------------------ |
| 6.2          | initial weights                           | `mlp/initializers.py`, `mlp/params.py`                 |
| 6.2.1, 6.2.2 | costs; output units as distributions      | `mlp/cost.py`, `mlp/output_units/`                     |
| 6.3          | hidden units                              | `mlp/hidden_units.py`, `autodiff/operations/`          |
| 6.4          | the structure of a network                | `mlp/structure.py`                                     |
| 6.5.1        | graphs of variables and operations        | `autodiff/dag.py`, `variable.py`, `operation.py`     |
| 6.5.2        | the chain rule: each operation's bprop    | `autodiff/operations/`                                 |
| 6.5.3        | Algorithms 6.1 and 6.2, scalar graphs     | `autodiff/scalar.py`                                   |
| 6.5.4        | Algorithms 6.3 and 6.4, forward and back  | `mlp/network.py`, `mlp/layers.py`                      |
|              | what they know of each example            | `mlp/tape/`                                            |
| 6.5.5        | symbol-to-number, symbol-to-symbol        | `autodiff/transforms.py`, `autodiff/tracing.py`        |
| 6.5.6        | Algorithms 6.5 and 6.6; their cost        | `autodiff/backprop.py`, `autodiff/accounting.py`       |
| 6.5.7        | minibatch SGD; weight decay               | `training/step/`, `mlp/penalties.py`                   |
| 6.5.9        | simplified derivatives; forward mode      | `autodiff/simplification.py`, `autodiff/transforms.py` |
| 6.5.10       | Hessians, and their products with vectors | `autodiff/transforms.py`, `mlp/tape/curvature.py`      |

Names are loaded when first used, so that `mlp-jax --help` and errors in a configuration need no JAX.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlp_jax import autodiff as autodiff
    from mlp_jax import verify as verify
    from mlp_jax.mlp import hidden_units as hidden_units
    from mlp_jax.mlp import output_units as output_units
    from mlp_jax.mlp.network import Tape as Tape
    from mlp_jax.mlp.network import backward as backward
    from mlp_jax.mlp.network import forward as forward
    from mlp_jax.mlp.network import log_density as log_density
    from mlp_jax.mlp.network import loss as loss
    from mlp_jax.mlp.network import loss_and_grad as loss_and_grad
    from mlp_jax.mlp.network import parameters as parameters
    from mlp_jax.mlp.network import predict as predict
    from mlp_jax.mlp.network import sample as sample
    from mlp_jax.mlp.params import Layer as Layer
    from mlp_jax.mlp.params import LayerWithTheta as LayerWithTheta
    from mlp_jax.mlp.params import init as init
    from mlp_jax.mlp.params import stack as stack
    from mlp_jax.mlp.params import unstack as unstack
    from mlp_jax.mlp.penalties import L1 as L1
    from mlp_jax.mlp.penalties import L2 as L2
    from mlp_jax.mlp.penalties import ElasticNet as ElasticNet
    from mlp_jax.mlp.structure import MLP as MLP
    from mlp_jax.mlp.tape.curvature import ggn_diagonal as ggn_diagonal
    from mlp_jax.mlp.tape.curvature import ggn_product as ggn_product
    from mlp_jax.mlp.tape.curvature import kfac_factors as kfac_factors
    from mlp_jax.mlp.tape.gradients import clipped_gradient as clipped_gradient
    from mlp_jax.mlp.tape.gradients import gradient_moments as gradient_moments
    from mlp_jax.mlp.tape.gradients import gradient_norms as gradient_norms
    from mlp_jax.mlp.tape.input_derivatives import input_jacobian as input_jacobian
    from mlp_jax.mlp.tape.input_derivatives import laplacian as laplacian
    from mlp_jax.mlp.tape.kernels import gram as gram
    from mlp_jax.mlp.tape.kernels import ntk as ntk

__version__ = "0.1.0"

_MODULES = ("autodiff", "verify", "mlp.hidden_units", "mlp.output_units")
_NAMES = {
    "mlp.network": (
        "Tape", "backward", "forward", "log_density", "loss", "loss_and_grad", "parameters", "predict", "sample",
    ),
    "mlp.params": ("Layer", "LayerWithTheta", "init", "stack", "unstack"),
    "mlp.penalties": ("ElasticNet", "L1", "L2"),
    "mlp.structure": ("MLP",),
    "mlp.tape.curvature": ("ggn_diagonal", "ggn_product", "kfac_factors"),
    "mlp.tape.gradients": ("clipped_gradient", "gradient_moments", "gradient_norms"),
    "mlp.tape.input_derivatives": ("input_jacobian", "laplacian"),
    "mlp.tape.kernels": ("gram", "ntk"),
}  # fmt: skip
_HOMES = {name: module for module, names in _NAMES.items() for name in names}
_HOMES |= {module.rpartition(".")[2]: module for module in _MODULES}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mlp_jax' has no attribute {name!r}")
    module = import_module(f"mlp_jax.{_HOMES[name]}")
    return module if _HOMES[name] in _MODULES else getattr(module, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
