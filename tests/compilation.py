"""How tests compile: most programs soon instead of well, which takes half the time of the suite off."""

import os
import subprocess
import sys
from contextlib import contextmanager

import jax

SOON = {
    "xla_backend_optimization_level": 0,
    "xla_cpu_use_fusion_emitters": False,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_parallel_codegen_split_count": 1,  # a worker has one processor
}
WELL = {  # XLA's defaults
    "xla_backend_optimization_level": 3,
    "xla_cpu_use_fusion_emitters": True,
    "xla_llvm_disable_expensive_passes": False,
    "xla_cpu_parallel_codegen_split_count": 32,
}


def compile_soon():
    """For all of this process and those that it starts, unless they say otherwise, and if this XLA has such flags."""
    flags = " ".join(f"--{name}={str(value).lower()}" for name, value in SOON.items())
    environment = {**os.environ, "XLA_FLAGS": flags}
    trial = [sys.executable, "-c", "import jax; jax.jit(lambda: 0)()"]  # XLA ends the process at an unknown flag
    if "XLA_FLAGS" not in os.environ and subprocess.run(trial, env=environment, capture_output=True).returncode == 0:
        os.environ["XLA_FLAGS"] = flags


@contextmanager
def compiled():
    """A list to which each compilation of a program adds its seconds, until the end of the block."""
    programs, listening = [], [True]

    def note(event, seconds, **_):
        if listening and event == "/jax/core/compile/backend_compile_duration":
            programs.append(seconds)

    jax.monitoring.register_event_duration_secs_listener(note)
    yield programs
    listening.clear()  # JAX has no public way to take a listener back


def as_for_a_user(function, **arguments):
    """`jax.jit`, with what XLA does by default: for tests of rounding."""
    is_soon = "xla_backend_optimization_level" in os.environ.get("XLA_FLAGS", "")
    return jax.jit(function, compiler_options=WELL if is_soon else None, **arguments)
