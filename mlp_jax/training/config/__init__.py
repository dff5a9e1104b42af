"""The configuration of a training run."""

from mlp_jax.training.config.loading import FREE_TO_CHANGE, as_values, fingerprint, flat, from_values, load
from mlp_jax.training.config.records import Config, Network

__all__ = ["FREE_TO_CHANGE", "Config", "Network", "as_values", "fingerprint", "flat", "from_values", "load"]
