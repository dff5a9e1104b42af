"""Public functions of pennylane, called: its gradient rules are audited where they are used."""

import jax
import jax.numpy as jnp
import pennylane as qml
from common import S, tried

rho, sigma = (m / jnp.trace(m) for m in (S[:2, :2].astype(complex), S[1:3, 1:3].astype(complex)))


def circuit(how, **options):
    @qml.qnode(qml.device("default.qubit", wires=1), interface="jax", diff_method=how, **options)
    def f(x):
        qml.RX(x, wires=0)
        return qml.expval(qml.PauliZ(0))

    return f


tried(
    lambda: qml.math.fidelity(rho, sigma),
    lambda: circuit("parameter-shift")(jnp.float32(0.3)),
    lambda: jax.jit(circuit("parameter-shift"))(jnp.float32(0.3)),
    lambda: jax.grad(circuit("adjoint"))(jnp.float32(0.3)),
    lambda: jax.jit(jax.grad(circuit("adjoint", device_vjp=True)))(jnp.float32(0.3)),
)
