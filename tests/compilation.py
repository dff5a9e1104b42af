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


# In a process of its own: XLA reads its flags once, and ends the process at one that it does not know.
KNOWN = """
import ast, sys, jax
for option, value in ast.literal_eval(sys.argv[1]).items():
    try:
        jax.jit(lambda: 0, compiler_options={option: value})()
        print(option)
    except jax.errors.JaxRuntimeError:
        pass
"""


def compile_soon():
    """For all of this process and those that it starts, unless they say otherwise, by the flags that this XLA has."""
    if "XLA_FLAGS" not in os.environ:
        known = subprocess.run([sys.executable, "-c", KNOWN, repr(SOON)], capture_output=True, text=True).stdout.split()
        os.environ["XLA_FLAGS"] = " ".join(f"--{name}={str(SOON[name]).lower()}" for name in known)


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
    well = {name: value for name, value in WELL.items() if name in os.environ.get("XLA_FLAGS", "")}
    return jax.jit(function, compiler_options=well or None, **arguments)
