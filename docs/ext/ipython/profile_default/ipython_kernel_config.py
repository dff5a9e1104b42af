"""Kernels of the build say nothing of how they talk to it."""

c = get_config()  # noqa: F821
c.Application.log_level = "ERROR"
