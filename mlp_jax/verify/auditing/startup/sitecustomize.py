"""Python runs this when it starts, with this folder in PYTHONPATH: the audit begins when JAX has been imported."""

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from typing import Any


class _AfterImport(importlib.abc.MetaPathFinder):
    """Has `jax` imported as ever, and then starts the audit."""

    def __init__(self, said: str) -> None:
        self.said = said

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        spec = importlib.machinery.PathFinder.find_spec(name, path) if name == "jax" else None
        if spec and spec.loader:
            self.loader, self.execute = spec.loader, spec.loader.exec_module
            vars(spec.loader)["exec_module"] = self.exec_module
        return spec

    def exec_module(self, module: Any) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)
            del vars(self.loader)["exec_module"]
        self.execute(module)
        try:
            from mlp_jax.verify.auditing import process

            process.start(self.said)
        except Exception as error:  # the program must go on
            print(f"mlp-jax audit: this Python cannot be audited: {error}", file=sys.stderr)


def _run_the_hidden_one() -> None:
    """Another sitecustomize, which this one hides."""
    here = os.path.dirname(os.path.abspath(__file__))
    paths = [path for path in sys.path if os.path.abspath(path or ".") != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", paths)
    if spec and spec.loader:
        module = importlib.util.module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


if "MLP_JAX_AUDIT" in os.environ:
    sys.meta_path.insert(0, _AfterImport(os.environ["MLP_JAX_AUDIT"]))
_run_the_hidden_one()
