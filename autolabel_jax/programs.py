"""Compiles functions with bound arguments; equal ones share a program within a process.

The seeds of a sweep, and a run that is resumed, are traced and compiled once.
"""

import dataclasses
import functools
import types
from collections.abc import Callable, Hashable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

KEPT = 32  # functions; a run has four or five


@dataclasses.dataclass(frozen=True)
class _Function:
    """Equals another one with the same key."""

    key: Hashable
    call: Callable[..., Any] = dataclasses.field(compare=False)


def jit(function: Callable[..., Any], mesh: Mesh, **settings: Any) -> Callable[..., Any]:
    """Compiles a function as ``jax.jit``, or returns an equal one that was compiled before.

    Results are replicated on every device, because each process reads them.

    Args:
      function: function, method or partial function without side effects. Two are equal if they
        call the same code with equal bound arguments: arrays and dataclasses are compared by
        value, other objects by ``==``.
      mesh: all devices.
      **settings: arguments of ``jax.jit``, hashable.
    """
    return _compile(_Function(_key(function), function), mesh, **settings)


@functools.lru_cache(maxsize=KEPT)
def _compile(function: _Function, mesh: Mesh, **settings: Any) -> Callable[..., Any]:
    replicated = NamedSharding(mesh, PartitionSpec())
    return jax.jit(function.call, out_shardings=replicated, **settings)


def _key(value: Any) -> Hashable:
    """Returns an object that equals that of another value if the two are interchangeable."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, types.MethodType):
        return value.__func__, _key(value.__self__)
    if isinstance(value, functools.partial):
        keywords = tuple((name, _key(bound)) for name, bound in sorted(value.keywords.items()))
        return _key(value.func), tuple(map(_key, value.args)), keywords
    try:
        hash(value)
    except TypeError:
        if not dataclasses.is_dataclass(value):
            return id(value)  # of no other object while the function, and so the value, is kept
        fields = (_key(getattr(value, field.name)) for field in dataclasses.fields(value))
        return type(value), tuple(fields)
    return type(value), value
