"""The numbers of a training that its compiled program leaves open: trainings that differ in them alone share it."""

from typing import Any, NamedTuple

from mlp_jax.mlp.structure import MLP
from mlp_jax.training.step.program import Program


class Values(NamedTuple):
    """Numbers, or scalars of a trace.

    Attributes:
        optimizer: arguments of the optimizer by name, such as its rate; of which the program's is a function.
        l2: λ₂ of the network's penalty; without effect where that has none.
        l1: its λ₁, likewise.
    """

    optimizer: dict[str, Any]
    l2: Any = 0.0
    l1: Any = 0.0

    def put_into(self, program: Program) -> Program:
        """The program with these numbers."""
        make: Any = program.optimizer
        return program._replace(net=self.put_into_net(program.net), optimizer=make(**self.optimizer))

    def put_into_net(self, net: MLP) -> MLP:
        """The network with these numbers."""
        return net if net.penalty is None else net.penalised_by(net.penalty.with_coefficients(self.l2, self.l1))
