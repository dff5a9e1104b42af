"""Shape and dtype of an operation's result, without running it (section 6.5.8: data types)."""

from typing import Any

import jax

from mlp_jax.autodiff.operation import Operation, TracingError, innermost, is_several


def type_key(operation: Operation, types: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
    """Equal where the result has one type; 1, 1.0 and True are equal to Python and not here."""
    return operation, tuple((type(x), x) for x in types), hashable(attributes)


def hashable(attributes: dict[str, Any]) -> Any:
    """Attributes as a part of a key; those that cannot be hashed are equal to nothing but themselves."""
    items = tuple(attributes.items())
    try:
        hash(items)
    except TypeError:
        return object()
    return items


def as_type(x: Any) -> Any:
    """Shape and dtype of an array or variable, of several a tuple; a Python number stays itself: it has no dtype."""
    x = innermost(x)
    if is_several(x):
        return tuple(as_type(each) for each in jax.tree.leaves(x))
    if type(x) in (bool, int, float, jax.ShapeDtypeStruct):  # not numpy.float64, a subclass of float
        return x
    aval = jax.typeof(x)
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype, weak_type=aval.weak_type)


def infer_type(operation: Operation, types: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
    """Shape and dtype of the result of an operation on inputs of these types; of several, in their structure."""
    arrays = [k for k, x in enumerate(types) if isinstance(x, jax.ShapeDtypeStruct | tuple)]

    def f(*values: Any) -> Any:
        inputs = list(types)
        for k, value in zip(arrays, values, strict=True):
            inputs[k] = value
        return operation.f(*inputs, **attributes)

    result = jax.eval_shape(f, *(types[k] for k in arrays))
    if not jax.tree.leaves(result):
        raise TracingError(f"operation {operation.name!r} must return arrays, got {type(result).__name__}")
    return result
