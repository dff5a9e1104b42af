"""The commands of `mlp-jax`, one file each: `run(config, options)` does it, and returns the exit status if not 0."""
