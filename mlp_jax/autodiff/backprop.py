"""Back-propagation through any graph: Algorithms 6.5 and 6.6.

    Algorithm 6.5   Let G' be G pruned to the nodes between the targets and z.
                    grad_table[z] ← 1
                    for V in targets:  build_grad(V, G, G', grad_table)
                    return grad_table restricted to the targets

    Algorithm 6.6   build_grad(V):  if V is in grad_table, return it
                    for C in get_consumers(V, G'):
                        op ← get_operation(C);   D ← build_grad(C, G, G', grad_table)
                        G^(i) ← op.bprop(get_inputs(C, G'), V, D)
                    grad_table[V] ← Σ_i G^(i)

The recursion is on the consumer C. Here it is an iteration: variables are visited in the reverse of their order,
so that every consumer's D is known when it is asked for, and a chain of any length needs no stack. What a consumer
gives to V is added at once: the sum has one buffer, not one for each consumer (section 6.5.8).

The same loop serves both modes of section 6.5.5. It reads a variable either as its value (symbol-to-number) or as the
variable itself (symbol-to-symbol), and then every rule adds its operations to the graph.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import PyTreeDef

from mlp_jax.autodiff import operations as ops
from mlp_jax.autodiff.dag import DAG, AnyDAG, ancestors, type_name
from mlp_jax.autodiff.operation import Operation, is_several, part
from mlp_jax.autodiff.variable import Variable

# A variable of G', and which of its inputs are in G', too.
Edges = tuple[Variable, tuple[int, ...]]


@lru_cache
def is_differentiable(dtype: Any) -> bool:
    """Whether gradients are defined for a dtype: those of real floating-point numbers.

    Raises:
        TypeError: complex numbers, whose gradients are not among those of the book.
    """
    if jnp.issubdtype(dtype, jnp.complexfloating):
        raise TypeError(f"gradients are for real numbers, got {dtype}; split it into its real and imaginary part")
    return bool(jnp.issubdtype(dtype, jnp.floating))


def prune(outputs: Iterable[Variable], targets: Iterable[Variable]) -> list[Edges]:
    """G': what lies between the targets and the outputs, each variable after its inputs, and the edges between them.

    An edge into an input whose rule is `zero`, or between numbers that are not real, is no edge of G'.
    """
    reached = set(targets)
    pruned: list[Edges] = []
    for v in ancestors(outputs):
        edges = tuple([i for i, u in enumerate(v.inputs) if isinstance(u, Variable) and u in reached])
        if edges:
            assert v.operation is not None
            is_real = is_several(v.value) or is_differentiable(v.dtype)
            edges = tuple([i for i in edges if not v.operation.is_cut(i)]) if is_real else ()
        if edges or v in reached:
            reached.add(v)
            pruned.append((v, edges))
    return pruned


def build_grads(
    grad_table: dict[Variable, Any],
    targets: Iterable[Variable],
    read: Callable[[Any], Any],
    keep: Iterable[Variable] | None = None,
) -> dict[Variable, Any]:
    """Algorithm 6.6 for all targets.

    Args:
        grad_table: the outputs with the gradients that arrive at them; {z: 1} in Algorithm 6.5.
        targets: whose gradients are wanted.
        read: a variable or constant as the rules shall see it, a value or itself.
        keep: of which variables the gradient is returned; the targets if None.

    Returns:
        The filled grad_table of `keep`; a variable that no gradient reaches is not in it.
    """
    targets = tuple(targets)
    kept = set(targets if keep is None else keep)
    pruned = prune(grad_table, targets)
    while pruned:  # popped, so that values and gradients that have done their work are freed
        C, edges = pruned.pop()
        D = grad_table.get(C) if C in kept else grad_table.pop(C, None)
        if D is None or not edges:
            continue
        assert C.operation is not None
        if C.operation is part:  # waits until those of the other parts have arrived
            of_parts, k = grad_table.setdefault(C.inputs[0], {}), C.attributes["index"]
            of_parts[k] = of_parts[k] + D if k in of_parts else D
            continue
        inputs, out = tuple([read(u) for u in C.inputs]), read(C)
        if is_several(C.value):
            out = C.parts() if out is C else out
            D = _of_several(C.operation, D, out)
        gradients = C.operation.gradients(edges, D, out, inputs, C.attributes)
        for i, G in zip(edges, gradients, strict=True):
            V = C.inputs[i]
            grad_table[V] = grad_table[V] + G if V in grad_table else G
    return grad_table


def _of_several(operation: Operation, of_parts: dict[int, Any], out: Any) -> Any:
    """The gradients that have arrived at some of several results, as the operation's rule takes them."""
    results, structure = jax.tree.flatten(out)
    gradients = dict(of_parts)
    if not operation.is_sparse:
        for k, y in enumerate(results):
            if k not in gradients and is_differentiable(y.dtype):
                gradients[k] = ops.zeros_like(y)
    return jax.tree.unflatten(structure, [gradients.get(k) for k in range(len(results))])


def gradient(graph: AnyDAG, of: Variable | None = None, wrt: Any = None) -> AnyDAG:
    """Algorithm 6.5, symbol-to-symbol: the graph of the gradient, which can be evaluated, drawn, differentiated again.

    Args:
        graph: the graph of a function.
        of: the scalar z to differentiate; the graph's only output if None.
        wrt: the targets, a variable or a pytree of variables of the graph; all arguments of the function if None,
            where an argument that is not of floating-point numbers has the gradient None.

    Returns:
        A graph with the same inputs. Its outputs are the gradients, in the structure of `wrt`, or as a tuple
        like the arguments; a variable that z does not depend on has the gradient 0, and `notes` say why.

    Raises:
        TypeError: z is not a scalar, or it or a target is not a floating-point number.
        ValueError: a variable of another graph, or no single output.

    >>> from mlp_jax.autodiff import trace
    >>> print(gradient(trace(lambda x: x * x, 1.0)))
    graph: 1 input, 5 operations, 1 output
      x: float32[]
      J: float32[] = mul(x, x)
      ∂J/∂J: float32[] = ones_like(J)
      v3: float32[] = mul(∂J/∂J, x)
      v4: float32[] = mul(∂J/∂J, x)
      ∂J/∂x: float32[] = add(v3, v4)
    returns ∂J/∂x
    pruned 0 of 2 variables: none
    """
    z, targets, structure = cost_and_targets(graph, of, wrt)
    arrays = [v for v in graph.variables if not is_several(v.value)]
    with z.trace.recording():
        grad_table = build_grads({z: ops.ones_like(z)}, targets, read=lambda v: v, keep=arrays)
        outputs = tuple(grad_table[v] if v in grad_table else ops.zeros_like(v) for v in targets)
    gradients = dict(graph.gradients)
    for v, g in grad_table.items():
        gradients.setdefault(g, (z, v))
    pruned = [graph.names[v] for v in arrays if v not in grad_table]
    notes = [f"pruned {len(pruned)} of {len(arrays)} variables: {', '.join(pruned) or 'none'}"]
    notes += [why_zero(graph, z, v) for v in targets if v not in grad_table]
    return replace(graph, outputs=outputs, out_tree=structure, gradients=gradients, notes=tuple(notes))


def cost_and_targets(graph: DAG, of: Variable | None, wrt: Any) -> tuple[Variable, list[Variable], PyTreeDef]:
    """The scalar to differentiate, the variables for which, and their structure; errors as for `gradient`."""
    z = _the_output(graph) if of is None else of
    if wrt is None:
        arguments = [v if is_differentiable(v.dtype) else None for v in graph.inputs]
        wrt = jax.tree.unflatten(graph.in_tree, arguments)
    targets, structure = jax.tree.flatten(wrt)
    for v in (z, *targets):
        graph.require_own(v)
    if z.shape != () or not is_differentiable(z.dtype):
        raise TypeError(
            f"the gradient is that of a floating-point scalar, got {graph.names[z]}: {type_name(z)}; reduce it, "
            "for example with ops.sum, or use vjp or jacobian of the function"
        )
    for v in targets:
        if not is_differentiable(v.dtype):
            raise TypeError(f"gradients are for floating-point numbers, got {graph.names[v]}: {type_name(v)}")
    return z, targets, structure


def why_zero(graph: DAG, z: Variable, v: Variable) -> str:
    """Why no gradient passes from z to v: z does not depend on v, or every path is cut somewhere."""
    names, between = graph.names, ancestors([z])
    if v not in between:
        return f"∂{names[z]}/∂{names[v]} = 0: {names[z]} does not depend on {names[v]}"
    live = {u for u, _ in prune([z], [v])}
    cuts = [u for u in between if u not in live and not live.isdisjoint(graph.inputs_of(u))]
    places = dict.fromkeys(f"{u.operation.name}, {u.line}" for u in cuts if u.operation)
    return f"∂{names[z]}/∂{names[v]} = 0: no path from {names[z]} to {names[v]}: cut at {' and at '.join(places)}"


def _the_output(graph: DAG) -> Any:
    if len(graph.outputs) != 1:
        raise ValueError(
            f"the graph has {len(graph.outputs)} outputs; say which to differentiate, as in "
            "graph.gradient(of=graph.outputs[0])"
        )
    if not isinstance(graph.outputs[0], Variable):
        raise ValueError("the graph's output is a constant: there is nothing to differentiate")
    return graph.outputs[0]
