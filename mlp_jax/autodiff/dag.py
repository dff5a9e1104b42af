"""A computational graph as data: its variables and operations, and a check of their types (section 6.5.1)."""

from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax.tree_util import PyTreeDef

from mlp_jax.autodiff.operation import Operation, TracingError, is_several
from mlp_jax.autodiff.variable import Trace, Variable

AnyDAG = TypeVar("AnyDAG", bound="DAG")  # what makes a graph of a graph keeps its class


def ancestors(outputs: Iterable[Any], known: Container[Variable] = ()) -> list[Variable]:
    """The variables on which the outputs depend, and they themselves, each after its inputs; by iteration.

    Those that are known are left out, and what only they depend on.
    """
    found: set[Variable] = set()
    waiting = [v for v in outputs if isinstance(v, Variable)]
    while waiting:
        v = waiting.pop()
        if v not in found and v not in known:
            found.add(v)
            waiting += [u for u in v.inputs if isinstance(u, Variable) and u.trace is v.trace]
    return sorted(found, key=lambda v: v.number)


def compute(outputs: Iterable[Any], known: dict[Variable, Any]) -> list[Any]:
    """The values of the outputs, from those of what they depend on: every operation run once, in order."""
    values = dict(known)

    def read(u: Any) -> Any:
        return values[u] if isinstance(u, Variable) and u in values else u

    outputs = list(outputs)
    for v in ancestors(outputs, known):
        if v.operation is not None:
            values[v] = v.operation(*[read(u) for u in v.inputs], **v.attributes)
    return [read(v) for v in outputs]


@dataclass(frozen=True, eq=False, repr=False)
class DAG:
    """What a function computes, as a directed acyclic graph of variables. `Graph` adds what can be made of it.

    The shapes and dtypes of all variables are inferred again and compared when a graph is made.

    Attributes:
        inputs: the variables of the arguments, in the order of their leaves.
        outputs: the variables that the function returned, in the same order; a constant is itself.
        in_tree: the structure of the arguments.
        out_tree: the structure of the returned value.
        gradients: in a gradient graph, what its variables are: (z, v) of ∂z/∂v.
        notes: in a gradient graph, what was pruned and why a gradient is zero.
    """

    inputs: tuple[Variable, ...]
    outputs: tuple[Any, ...]
    in_tree: PyTreeDef
    out_tree: PyTreeDef
    gradients: dict[Variable, tuple[Variable, Variable]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_types(self)

    def __reduce__(self) -> Any:
        """Pickled as a list of its variables, so that a deep graph needs no recursion."""
        known = {g: of for g, of in self.gradients.items() if {g, of[1]} <= set(self.variables)}
        gone = dict.fromkeys(z for z, _ in known.values() if z not in set(self.variables))  # costs, simplified away
        place = {v: k for k, v in enumerate((*self.variables, *gone))}

        def packed(u: Any) -> Any:
            return _Place(place[u]) if isinstance(u, Variable) and u in place else u

        nodes: list[Any] = [
            (v.value, v.operation, tuple(map(packed, v.inputs)), v.attributes, v.name, v.line) for v in self.variables
        ]
        nodes += [(z.value, None, (), {}, z.name, z.line) for z in gone]
        gradients = {packed(g): tuple(map(packed, of)) for g, of in known.items()}
        ends = [*map(packed, self.inputs)], [*map(packed, self.outputs)]
        trees = [jax.tree.unflatten(tree, range(tree.num_leaves)) for tree in (self.in_tree, self.out_tree)]
        return _unpacked, (type(self), nodes, *ends, *trees, gradients, self.notes)

    @cached_property
    def variables(self) -> tuple[Variable, ...]:
        """All variables, each after its inputs: the inputs, and what the outputs depend on."""
        return tuple(sorted({*self.inputs, *ancestors(self.outputs)}, key=lambda v: v.number))

    @cached_property
    def _consumers(self) -> dict[Variable, list[Variable]]:
        consumers: dict[Variable, list[Variable]] = {v: [] for v in self.variables}
        for v in self.variables:
            for u in dict.fromkeys(self.inputs_of(v)):
                consumers[u].append(v)
        return consumers

    def operation_of(self, v: Variable) -> Operation | None:
        """The book's get_operation(V): the operation that computes v; None for an input."""
        return v.operation

    def inputs_of(self, v: Variable) -> tuple[Variable, ...]:
        """The book's get_inputs(V, G): the variables from which v is computed (`v.inputs` has the constants, too)."""
        return tuple(u for u in v.inputs if isinstance(u, Variable) and u.trace is v.trace)

    def consumers_of(self, v: Variable) -> tuple[Variable, ...]:
        """The book's get_consumers(V, G): the variables that are computed from v."""
        self.require_own(v)
        return tuple(self._consumers[v])

    def evaluate(self, *args: Any) -> Any:
        """The function's value: every operation run once, in order. It can be jitted, and differentiated by JAX.

        Args:
            args: as the function took, of the same structure, shapes and dtypes.

        Raises:
            TypeError: arguments of another structure.
            ValueError: an array of another shape or dtype.

        >>> from mlp_jax.autodiff import trace
        >>> trace(lambda x: x * x, 1.0).evaluate(3.0).tolist()
        9.0
        """
        values = compute(self.outputs, dict(zip(self.inputs, self._as_values(args), strict=True)))
        return jax.tree.unflatten(self.out_tree, values)

    def _as_values(self, args: tuple[Any, ...]) -> list[Any]:
        leaves, tree = jax.tree.flatten(args)
        if tree != self.in_tree:
            raise TypeError(f"the graph's arguments have the structure {self.in_tree}, got {tree}")
        values = [x if isinstance(x, jax.Array | Variable) else jnp.asarray(x) for x in leaves]
        for v, x in zip(self.inputs, values, strict=True):
            if (v.shape, v.dtype) != (x.shape, x.dtype):
                raise ValueError(
                    f"input {self.names[v]} of the graph is {type_name(v)}, got {type_name(x)}; "
                    "for other shapes trace the function again"
                )
        return values

    def require_own(self, v: Any) -> None:
        """Raise a ValueError if v is not a variable of this graph."""
        if not isinstance(v, Variable) or v not in self._consumers:
            raise ValueError(f"{v!r} is not a variable of this graph")

    @cached_property
    def names(self) -> dict[Variable, str]:
        """A name for each variable, unique: its own, ∂J/∂v of a gradient, J of the cost, or a number."""
        costs = {z for z, _ in self.gradients.values()} or {v for v in self.outputs if len(self.outputs) == 1}
        names: dict[Variable, str] = {}
        taken: set[str] = set()
        for k, v in enumerate(self.variables, start=1 - len(self.inputs)):
            z, of = self.gradients.get(v, (None, None))
            if z is not None and of in names:  # a simpler graph may have made it anew, and later
                automatic = f"∂{names.get(z, z.name or 'J')}/∂{names[of]}"
            else:
                automatic = "J" if v in costs and v.shape == () else f"v{k}"
            name = v.name or automatic
            while name in taken:
                name += "′"
            taken.add(name)
            names[v] = name
        return names

    @property
    def output_names(self) -> tuple[str, ...]:
        """The names of the outputs; a constant is written out."""
        return tuple(self.names[v] if isinstance(v, Variable) else format_constant(v) for v in self.outputs)


class _Place(NamedTuple):
    """Stands for a variable in a pickled graph."""

    k: int


def _unpacked(
    kind: type[AnyDAG], nodes: Any, inputs: Any, outputs: Any, in_tree: Any, out_tree: Any, gradients: Any, notes: Any
) -> AnyDAG:
    """The graph of what `DAG.__reduce__` wrote."""
    run = Trace(symbolic=True)
    made: list[Variable] = []

    def unpack(u: Any) -> Any:
        return made[u.k] if isinstance(u, _Place) else u

    for value, operation, given, *rest in nodes:
        made.append(Variable(run, value, operation, tuple(map(unpack, given)), *rest))
    ends = tuple(map(unpack, inputs)), tuple(map(unpack, outputs))
    trees = jax.tree.structure(in_tree), jax.tree.structure(out_tree)
    return kind(*ends, *trees, {unpack(g): tuple(map(unpack, of)) for g, of in gradients.items()}, notes)


def type_name(x: Any) -> str:
    """Dtype and shape, as in float32[3,4]; of an operation's several results, those of each."""
    value = x.value if isinstance(x, Variable) else x
    if is_several(value):
        return f"({', '.join(map(type_name, jax.tree.leaves(value)))})"
    return f"{x.dtype}[{','.join(map(str, x.shape))}]"


def format_constant(x: Any) -> str:
    """A number as itself, an array by dtype and shape."""
    return type_name(x) if getattr(x, "shape", ()) else str(x)


def check_types(graph: DAG) -> None:
    """Infer every shape and dtype again, and require that every variable without operation is an input.

    Raises:
        TracingError: a variable of another graph, or a type that differs.
    """
    fresh = Trace(symbolic=True)  # which has not seen the types that are checked
    inputs = set(graph.inputs)
    for v in graph.variables:
        if v.operation is None:
            if v not in inputs:
                raise TracingError(f"{v!r} belongs to another graph; pass it to this function as an argument")
            continue
        inferred = fresh.type_of(v.operation, v.inputs, v.attributes)
        if type_name(inferred) != type_name(v):
            raise TracingError(f"{v!r} should be {type_name(inferred)}: an error in operation {v.operation.name!r}")
