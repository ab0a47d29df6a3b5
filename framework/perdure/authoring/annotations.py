"""What a callable is annotated to return, looked up the way a reader would."""

from __future__ import annotations

import asyncio
import functools
import inspect
import typing
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Iterator,
)
from types import BuiltinFunctionType, FunctionType, NoneType, UnionType
from typing import Any, Final, Never, NoReturn, TypeVar, Union, cast

from perdure.errors import UsageError

__all__ = [
    "UNANNOTATED",
    "display_name",
    "first_annotation",
    "return_annotation",
    "simplified",
    "target_of",
]

UNANNOTATED: Final = inspect.Signature.empty
"""Stands for "no return annotation", which is not the same as one that says None."""

_AWAITABLES: Final = frozenset({Awaitable, Coroutine, asyncio.Future, asyncio.Task})
_STREAMS: Final = frozenset({AsyncGenerator, AsyncIterable, AsyncIterator, Generator, Iterable, Iterator})


def target_of(fn: Callable[..., object]) -> Callable[..., object]:
    """The function or class behind a partial, a bound method or an object with `__call__`.

    It lives as long as the code does, where a partial or a bound method may be made anew at each use.
    """
    while not isinstance(fn, FunctionType | type | BuiltinFunctionType):
        if isinstance(fn, functools.partial):
            fn = fn.func
        elif inspect.ismethod(fn):
            fn = fn.__func__
        elif isinstance(inner := getattr(fn, "__wrapped__", None), FunctionType):
            fn = inner  # functools.cache and its like
        else:
            call = inspect.getattr_static(type(fn), "__call__", None)
            return call if isinstance(call, FunctionType) else fn
    return fn


def display_name(fn: Callable[..., object]) -> str:
    """How messages call a callable: module and qualified name."""
    target = target_of(fn)
    name = getattr(target, "__qualname__", None) or type(target).__qualname__
    module = getattr(target, "__module__", None)
    return f"{module}.{name}" if module and module != "builtins" else name


def return_annotation(fn: Callable[..., object]) -> Any:
    """The evaluated return annotation; what an awaitable gives, for one that returns an awaitable.

    UNANNOTATED when there is none. Raises UsageError for names that cannot be resolved, and for generators.
    """
    target = target_of(fn)
    if isinstance(target, type):
        return target
    if inspect.isgeneratorfunction(target) or inspect.isasyncgenfunction(target):
        raise UsageError(f"{display_name(fn)} is a generator; a result is one value: collect it into a list")
    raw = _raw_annotation(target)
    if raw is UNANNOTATED:
        return UNANNOTATED
    try:
        annotation = _evaluated(target, raw)
    except Exception as error:
        raise _unresolved(target, raw, error) from error
    if not inspect.iscoroutinefunction(target):
        annotation = _awaited(annotation)
    if (typing.get_origin(annotation) or annotation) in _STREAMS:
        raise UsageError(
            f"{display_name(fn)} is annotated to return {annotation}; a result is one value: return a list[...]"
        )
    return annotation


def first_annotation(fn: Callable[..., object]) -> Any:
    """The evaluated annotation of the first parameter that a caller gives; behind a decorator, the one it wraps.

    UNANNOTATED when there is none, and for names that only a type checker sees.
    """
    target = inspect.unwrap(target_of(fn))
    try:
        # Of what is called: a method's `self` and a partial's first arguments are given already.
        first = next(iter(inspect.signature(fn).parameters.values()), None)
    except (NameError, TypeError, ValueError):  # written in C, or evaluated here by Python 3.14
        return UNANNOTATED
    if first is None or first.annotation is UNANNOTATED:
        return UNANNOTATED
    try:
        return _evaluated(target, first.annotation)
    except Exception:  # noqa: BLE001 - an annotation may be any expression; this one is no help
        return UNANNOTATED


def _raw_annotation(target: Callable[..., object]) -> Any:
    try:
        annotations = cast("dict[str, Any]", getattr(target, "__annotations__", None) or {})
    except NameError as error:  # Python 3.14 evaluates here
        raise _unresolved(target, "", error) from error
    return annotations.get("return", UNANNOTATED)


def _evaluated(target: Callable[..., object], raw: Any) -> Any:
    inner = inspect.unwrap(target)
    names: dict[str, Any] = {**getattr(target, "__globals__", {}), **getattr(inner, "__globals__", {})}
    code, cells = getattr(inner, "__code__", None), getattr(inner, "__closure__", None)
    if code is not None and cells is not None:
        for name, cell in zip(code.co_freevars, cells, strict=True):
            try:
                names[name] = cell.cell_contents
            except ValueError:  # not yet assigned
                continue
    for parameter in getattr(inner, "__type_params__", ()):
        names[parameter.__name__] = parameter
    # get_type_hints would evaluate the parameters' annotations too, which may be meant for type checkers only.
    holder = type("_", (), {"__annotations__": {"return": raw}})
    return typing.get_type_hints(holder, globalns=names, localns=names, include_extras=True)["return"]


def _unresolved(target: Callable[..., object], raw: Any, error: Exception) -> UsageError:
    return UsageError(
        f"the return annotation {raw!r} of {display_name(target)} cannot be resolved ({error}); define that type at "
        "the top level of a module, and import it outside of TYPE_CHECKING"
    )


def _awaited(annotation: Any) -> Any:
    """What is left of an annotation when it has been awaited; members of a union one by one."""
    origin = typing.get_origin(annotation)
    if annotation in _AWAITABLES:
        return UNANNOTATED
    if origin in _AWAITABLES:
        return typing.get_args(annotation)[-1]
    if origin is Union or origin is UnionType:
        members = typing.get_args(annotation)
        if any((typing.get_origin(member) or member) in _AWAITABLES for member in members):
            inner = [_awaited(member) for member in members]
            return UNANNOTATED if UNANNOTATED in inner else Union[tuple(inner)]  # noqa: UP007
    return annotation


def simplified(annotation: Any) -> Any:
    """Annotations that mean the same to a reader of JSON, as one: Never is None, a type variable or object is Any."""
    if annotation in (None, NoneType, Never, NoReturn):
        return NoneType
    if annotation is object or isinstance(annotation, TypeVar):
        return Any
    return annotation
