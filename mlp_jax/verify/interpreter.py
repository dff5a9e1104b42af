"""Programs evaluated anew: without the gradient rules inside them, and, where asked, in float64.

A program is the jaxpr that JAX traced in the user's own mode: integers keep their width, random bits are the same bits.
An interpreter goes through it equation by equation, as JAX's documentation shows, into every call, branch and loop:

- a call with a `custom_vjp` or `custom_jvp` is replaced by what it calls: JAX then differentiates what is computed;
- in float64 every floating-point number is one, whatever its type was, and each result can be rounded to that type at
  random, to see what rounding does; operations that are about a type (bits, callbacks, kernels) keep it.

`jax.extend.core`, whose names may change with JAX, is used here alone.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core

from mlp_jax.verify.disturbances import Exactly
from mlp_jax.verify.policy import MOST_ITERATIONS, Precision

Program = core.ClosedJaxpr


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Primitives by name. A float64 with half of its bits empty is the true result of these, and not of a logarithm.
_ARITHMETIC = _words("add sub mul neg integer_pow square add_any convert_element_type")
_SUMS = _words(
    "reduce_sum dot_general conv_general_dilated cumsum reduce_window_sum select_and_scatter_add ragged_dot_general "
    "scatter_add"
)
# These give the exact result for a matrix that is a little off: their inputs are disturbed as the terms of a sum.
_OF_MATRICES = _words("lu cholesky triangular_solve qr geqrf householder_product svd eigh eig")
# These round nothing: they move numbers, or choose among them.
_MOVES = _words(
    "broadcast_in_dim reshape transpose squeeze slice dynamic_slice dynamic_update_slice gather scatter concatenate "
    "split pad rev expand_dims copy copy_p select_n sort neg abs sign max min clamp reduce_max reduce_min cummax "
    "cummin argmax argmin floor ceil round iota stop_gradient optimization_barrier scatter_max scatter_min"
)
# The parameter in which a call has its program.
_CALLS = {
    **dict.fromkeys(_words("jit pjit remat2 checkpoint remat"), "jaxpr"),
    **dict.fromkeys(_words("closed_call core_call xla_call custom_jvp_call custom_vjp_call"), "call_jaxpr"),
    "custom_vjp_call_jaxpr": "fun_jaxpr",
    "custom_vmap_call": "call",
}
_LOOPS = _words("cond scan while")
_SCATTERS = _words("scatter scatter_add scatter_sub scatter_mul scatter_min scatter_max")
# About bits, or about programs of others: these take and give the types that they were made for.
_BITS = _words("bitcast_convert_type nextafter")
_TYPED = _BITS | _words("pure_callback io_callback ffi_call random_gamma")
# What compares numbers, and what hands a number on as it is.
_COMPARISONS = _words("eq ne lt le gt ge max min clamp")
_HANDS_ON = _words("broadcast_in_dim convert_element_type reshape copy squeeze")
_PRINTS = _words("debug_callback debug_print")


def is_float(dtype: Any) -> bool:
    """Whether a dtype is one of floating-point numbers, of any precision, or complex."""
    return bool(jnp.issubdtype(dtype, jnp.inexact))


def wide(dtype: Any) -> Any:
    """float64, or complex128, for a dtype of floating-point numbers; any other as it is."""
    if jnp.issubdtype(dtype, jnp.complexfloating):
        return np.dtype(np.complex128)
    return np.dtype(np.float64) if is_float(dtype) else dtype


def trace(f: Callable[..., Any], *args: Any) -> Program:
    """The program of f at arguments of these shapes and dtypes."""
    program: Program = jax.make_jaxpr(f)(*args)
    return program


def without_rules(program: Program) -> Callable[..., list[Any]]:
    """The program as a function that calls nothing with a gradient rule of its own; errors are JAX's."""
    return lambda *args: _Interpreter(False, Exactly()).run(program.jaxpr, program.consts, args)


def in_float64(program: Program, how: Exactly | None = None) -> Callable[..., list[Any]]:
    """The program as a function of float64 arrays, to be called where JAX has 64 bits, disturbed in a way if given."""
    return lambda *args: _Interpreter(True, how or Exactly()).run(program.jaxpr, program.consts, args)


def equations(program: Any) -> Iterator[Any]:
    """All equations of a program, those of the programs inside it included."""
    for equation in getattr(program, "jaxpr", program).eqns:
        yield equation
        for inner in core.jaxprs_in_params(equation.params):
            yield from equations(inner)


RULES = ("custom_vjp", "custom_jvp")  # what is called with a gradient rule of its own


def calls(program: Any, *names: str) -> bool:
    """Whether it has an operation whose name begins with one of these."""
    return any(e.primitive.name.startswith(names) for e in equations(program))


def stops_within(program: Program) -> bool:
    """Whether it has a stop_gradient in a branch or a loop, where values cannot be held fast."""
    control = (e for e in equations(program) if _name(e) in ("cond", "scan", "while"))
    return any(calls(inner, "stop_gradient") for e in control for inner in core.jaxprs_in_params(e.params))


def typed_precision(program: Program) -> float:
    """The coarsest ε of what callbacks and kernels return in their own type even in float64, 0 if there is none."""
    kept = [e for e in equations(program) if _keeps_types(e) and _name(e) not in _BITS]
    dtypes = [v.aval.dtype for e in kept for v in e.outvars if _is_float_atom(v)]
    return max((Precision.of(dtype).eps for dtype in dtypes), default=0.0)


def fingerprint(program: Program) -> tuple[Any, ...]:
    """What is equal for programs that compute the same."""
    constants = [*program.consts, *(c for e in equations(program) for c in _constants(e))]
    arrays = (c for c in constants if hasattr(c, "dtype"))
    numbers = (jax.random.key_data(c) if jnp.issubdtype(c.dtype, jax.dtypes.extended) else c for c in arrays)
    return (str(program), *(np.asarray(c).tobytes() for c in numbers))


def _constants(equation: Any) -> Iterator[Any]:
    for parameter in equation.params.values():
        for inner in parameter if isinstance(parameter, tuple | list) else (parameter,):
            yield from getattr(inner, "consts", ())


def _name(equation: Any) -> str:
    name: str = equation.primitive.name
    return name.replace("-", "_")


def _keeps_types(equation: Any) -> bool:
    """Whether it is about its types, or calls programs in a way that is not known here."""
    name = _name(equation)
    known = name in _CALLS or name in _SCATTERS | _LOOPS or name == "custom_linear_solve"
    return name in _TYPED or not (known or next(iter(core.jaxprs_in_params(equation.params)), None) is None)


def _needed(jaxpr: Any) -> list[Any]:
    """The equations on which outputs depend, or that have effects.

    JAX lets a program have others that cannot be evaluated, such as forward mode of a rule that is backward only.
    """
    needed, kept = {v for v in jaxpr.outvars if not isinstance(v, core.Literal)}, []
    for equation in reversed(jaxpr.eqns):
        if equation.effects or not needed.isdisjoint(equation.outvars):
            kept.append(equation)
            needed.update(v for v in equation.invars if not isinstance(v, core.Literal))
    return kept[::-1]


class _Interpreter:
    """One way of evaluating programs."""

    def __init__(self, in_float64: bool, how: Exactly) -> None:
        self.wide, self.how = in_float64, how

    def run(self, jaxpr: Any, consts: Sequence[Any], args: Sequence[Any]) -> list[Any]:
        env: dict[Any, Any] = {}

        def read(atom: Any) -> Any:
            if isinstance(atom, core.Literal):
                return self._constant(np.asarray(atom.val, getattr(atom.aval, "dtype", None)), atom.aval)
            return env[atom]

        for var, value in zip(jaxpr.constvars, consts, strict=True):
            is_known = isinstance(value, np.ndarray | jax.Array) and not isinstance(value, jax.core.Tracer)
            env[var] = self._constant(value, var.aval) if is_known else self._lifted(value, var.aval)
        for var, value in zip(jaxpr.invars, args, strict=True):
            env[var] = self._lifted(value, var.aval)
        for equation in _needed(jaxpr):
            outs = self._evaluated(equation, [read(atom) for atom in equation.invars])
            env.update(zip(equation.outvars, self._rounded(equation, outs), strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _closed(self, program: Any, args: Sequence[Any]) -> list[Any]:
        return self.run(getattr(program, "jaxpr", program), getattr(program, "consts", ()), args)

    def _lifted(self, value: Any, aval: Any) -> Any:
        dtype = getattr(aval, "dtype", np.int32)
        return lax.convert_element_type(value, wide(dtype)) if self.wide and is_float(dtype) else value

    def _constant(self, value: Any, aval: Any) -> Any:
        known = self.wide and is_float(value.dtype)
        return self._lifted(self.how.constant(value, aval.dtype) if known else value, aval)

    def _evaluated(self, e: Any, ins: list[Any]) -> list[Any]:
        name = _name(e)
        if name in _CALLS:
            return self._closed(e.params[_CALLS[name]], ins)
        if name in ("cond", "scan") or (name == "while" and self.wide):
            inside = _Interpreter(self.wide, self.how.inside())
            return list({"cond": inside._cond, "scan": inside._scan, "while": inside._while}[name](e.params, ins))
        if not self.wide:
            return _bound(e, ins, e.params)
        if name == "stop_gradient":
            return [self.how.stopped(ins[0])]
        if name in _PRINTS and not e.outvars:
            return []
        if name == "custom_linear_solve":
            return self._solve(e.params, ins)
        if _keeps_types(e):
            pairs = zip(ins, e.invars, strict=True)
            typed = [lax.convert_element_type(v, a.aval.dtype) if _is_float_atom(a) else v for v, a in pairs]
            return [self._lifted(v, a.aval) for v, a in zip(_bound(e, typed, e.params), e.outvars, strict=True)]
        if name == "reduce_precision":
            return ins
        if name in _SUMS | _OF_MATRICES:
            ins = self._with_errors(e, ins)
        if name in _SCATTERS:
            options = ("dimension_numbers", "indices_are_sorted", "unique_indices", "mode")
            return [getattr(lax, name)(*ins, **{key: e.params[key] for key in options})]
        return _bound(e, ins, {key: _widened(key, value) for key, value in e.params.items()})

    # --- branches, loops, solutions -----------------------------------------------------------------------------------

    def _cond(self, p: dict[str, Any], ins: list[Any]) -> Sequence[Any]:
        branches = [lambda *args, branch=branch: self._closed(branch, args) for branch in p["branches"]]
        result: Sequence[Any] = lax.switch(ins[0], branches, *ins[1:])
        return result

    def _scan(self, p: dict[str, Any], ins: list[Any]) -> Sequence[Any]:
        # before jax 0.12 two numbers; since then a tree of constants, of what is carried and of what is scanned
        lengths = (p["num_consts"], p["num_carry"]) if "num_consts" in p else [len(x) for x in p["ft_in"].unpack()]
        consts, carried = lengths[0], lengths[1]

        def body(carry: Any, x: Any) -> Any:
            outs = self._closed(p["jaxpr"], [*ins[:consts], *carry, *x])
            return outs[:carried], outs[carried:]

        start, xs = ins[consts : consts + carried], ins[consts + carried :]
        carry, ys = lax.scan(body, start, xs, p["length"], p["reverse"])
        return [*carry, *ys]

    def _while(self, p: dict[str, Any], ins: list[Any]) -> Sequence[Any]:
        a, b = p["cond_nconsts"], p["body_nconsts"]

        def goes_on(state: Any) -> Any:
            return self._closed(p["cond_jaxpr"], [*ins[:a], *state])[0]

        def step(counted: Any) -> Any:
            count, state = counted
            new, on = self._closed(p["body_jaxpr"], [*ins[a : a + b], *state]), goes_on(state)
            if jnp.ndim(on):  # of a batch each example stops by itself
                shaped = [jnp.reshape(on, on.shape + (1,) * (jnp.ndim(n) - on.ndim)) for n in new]
                new = [jnp.where(which, n, o) for which, n, o in zip(shaped, new, state, strict=True)]
            return count + 1, new

        count, state = lax.while_loop(
            lambda s: (s[0] < MOST_ITERATIONS) & jnp.any(goes_on(s[1])), step, (np.int32(0), ins[a + b :])
        )
        ended = count < MOST_ITERATIONS
        return [jnp.where(ended, x, np.nan) if is_float(x.dtype) else x for x in state]

    def _solve(self, p: dict[str, Any], ins: list[Any]) -> list[Any]:
        lengths = p["const_lengths"]
        start = lengths.matvec + lengths.vecmat
        right = ins[sum(lengths) :]
        return self._closed(p["jaxprs"].solve, [*ins[start : start + lengths.solve], *right])

    # --- rounding -----------------------------------------------------------------------------------------------------

    def _rounded(self, e: Any, outs: list[Any]) -> list[Any]:
        name = _name(e)
        if not self.wide or name in _CALLS or name in _MOVES | _LOOPS:
            return outs
        exact = name in _ARITHMETIC or name in _SUMS
        return [
            self.how.result(v, var.aval.dtype, exact) if _is_float_atom(var) else v
            for v, var in zip(outs, e.outvars, strict=True)
        ]

    def _with_errors(self, e: Any, ins: list[Any]) -> list[Any]:
        sizes = [max(int(np.prod(a.aval.shape)), 1) for a in (*e.invars, e.outvars[0])]
        terms = max(1.0, max(sizes[:-1]) / sizes[-1])
        if _name(e) in _OF_MATRICES:
            terms = float(max(e.invars[0].aval.shape) ** 2)
        if _name(e) == "cumsum":
            terms = e.invars[0].aval.shape[e.params["axis"]]
        return [
            self.how.summand(v, a.aval.dtype, terms) if _is_float_atom(a) else v
            for v, a in zip(ins, e.invars, strict=True)
        ]


def _is_float_atom(atom: Any) -> bool:
    return is_float(getattr(atom.aval, "dtype", np.int32))


def _widened(key: str, value: Any) -> Any:
    if key not in ("new_dtype", "preferred_element_type", "dtype", "out_dtype") or value is None:
        return value
    return value if jnp.issubdtype(value, jax.dtypes.extended) else wide(value)


def _bound(e: Any, ins: list[Any], params: dict[str, Any]) -> list[Any]:
    """The equation with other inputs and parameters."""
    functions: Sequence[Any] = ()
    if next(iter(core.jaxprs_in_params(params)), None) is not None:
        bound = e.primitive.get_bind_params(params)
        functions, params = ((), bound) if isinstance(bound, dict) else bound  # by the version of JAX
    outs = e.primitive.bind(*functions, *ins, **params)
    return list(outs) if e.primitive.multiple_results else [outs]


def compared_constants(program: Any, given: dict[Any, float] | None = None) -> set[float]:
    """The numbers that something is compared with in a program, some of whose inputs are given: where branches meet."""
    jaxpr, found = getattr(program, "jaxpr", program), set[float]()
    constants = zip(jaxpr.constvars, getattr(program, "consts", ()), strict=False)
    scalars = {var: float(c) for var, c in constants if np.size(c) == 1 and is_float(getattr(c, "dtype", np.int32))}
    known = (given or {}) | scalars

    def read(atom: Any) -> float | None:
        if isinstance(atom, core.Literal):
            return float(atom.val) if np.ndim(atom.val) == 0 and _is_float_atom(atom) else None
        return known.get(atom)

    for e in jaxpr.eqns:
        values = [read(atom) for atom in e.invars]
        if _name(e) in _COMPARISONS:
            found |= {c for c in values if c is not None and np.isfinite(c)}
        if _name(e) in _HANDS_ON and values[0] is not None:
            known[e.outvars[0]] = values[0]
        for inner in core.jaxprs_in_params(e.params):
            variables = getattr(inner, "jaxpr", inner).invars
            pairs = zip(reversed(variables), reversed(values), strict=False)  # a branch is not given its number
            found |= compared_constants(inner, {var: c for var, c in pairs if c is not None})
    return found
