"""Minibatch SGD (section 6.5.7): a pure step, and many of them as one compiled program."""

from mlp_jax.training.step.epochs import Outcome, run_steps
from mlp_jax.training.step.gradient import Batch
from mlp_jax.training.step.program import Program
from mlp_jax.training.step.step import State, initial_state, take_step

__all__ = ["Batch", "Outcome", "Program", "State", "initial_state", "run_steps", "take_step"]
