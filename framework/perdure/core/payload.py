"""Strict JSON: what goes into a record, and what comes out of one.

Strict means: no NaN or infinity, no lone surrogates, keys that are strings, bounded nesting. What `dumps` takes,
every JSON reader takes, and `loads` gives it back (tuples as lists).
"""

from __future__ import annotations

import json
import math
from typing import Any, Final, cast

from pydantic_core import PydanticSerializationError, from_json, to_json

from perdure.errors import EncodingError

__all__ = ["NESTING_MAX", "canonical", "dumps", "loads"]

NESTING_MAX: Final = 200
"""How deep lists and objects may be nested; deeper ones break readers that use recursion."""

_NULL: Final = type(None)
_SCALARS: Final = frozenset({str, int, float, bool, _NULL})
_WIDE: Final = 64  # from this many containers on, a level of the walk looks for repeated ones
_INT_BITS_MAX: Final = 13_900  # Python neither prints nor reads integers of more than 4,300 digits
_DIGITS: Final = bytes.maketrans(b"123456789", b"000000000")
_DIGITS_RUN: Final = b"0" * 4_200
_TOO_DEEP: Final = (
    f"nested deeper than {NESTING_MAX} levels; flatten it, or look for a list or dict that holds itself"
)
_PATH_SHOWN: Final = 120
_ADVICE: Final = "use None, str, int, float, bool, lists, and dicts with string keys"

_subclasses = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":")
)
_sorted = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":"), sort_keys=True
)


def dumps(value: object, *, what: str = "the value", advice: str = "") -> bytes:
    """The value as compact UTF-8 JSON.

    Takes None, str, int, float, bool, lists, tuples and dicts with string keys, and their subclasses. Raises
    EncodingError, which names `what`, the path of the offender in it, and says what to do (`advice`, when a type
    is at fault).
    """
    if value is None:
        return b"null"
    plain = type(value) in _SCALARS or _is_plain(value)
    try:
        if not plain:
            # Reached by subclasses (an IntEnum, a defaultdict) as well as by what is at fault.
            _refuse(value, what, advice)
            return _subclasses.encode(value).encode()
        data = to_json(value, inf_nan_mode="constants")
    except (ValueError, RecursionError, PydanticSerializationError) as error:
        _refuse(value, what, advice)
        raise EncodingError(f"{what} cannot be written as JSON: {error}") from error
    # `find`: before it searches, `in` asks bytes whether they are a number, and drops the error.
    if (
        data.find(b"NaN") >= 0
        or data.find(b"Infinity") >= 0
        or (len(data) > 4_200 and _DIGITS_RUN in data.translate(_DIGITS))
    ):
        _refuse(value, what, advice)  # returns when it is only a string that looks like it
    return data


def loads(data: bytes, *, what: str = "the value") -> Any:
    """The value of UTF-8 JSON. Raises EncodingError for what is not strict JSON or is nested too deep.

    A float too large for a double reads as infinity, which `dumps` then refuses.
    """
    try:
        return from_json(data, allow_inf_nan=False)
    except ValueError as error:
        reason = str(error)
        if "recursion limit" in reason:
            reason = f"nested deeper than {NESTING_MAX} levels; flatten it"
        elif "hex escape" in reason or "surrogate" in reason:
            reason = f"a string holds half a surrogate pair, which is no character ({reason})"
        raise EncodingError(f"{what} is not JSON that perdure reads: {reason}") from error


def canonical(value: object, *, what: str = "the value") -> bytes:
    """One form per JSON value: keys sorted, no spaces; 1, 1.0, "1" and true stay four values.

    Raises EncodingError like `dumps`.
    """
    if type(value) is not str and type(value) is not int:
        _refuse(value, what, "")
    try:
        return _sorted.encode(value).encode()
    except ValueError as error:
        _refuse(value, what, "")
        raise EncodingError(f"{what} cannot be written as JSON: {error}") from error


def _is_plain(value: object) -> bool:
    """Whether there are only JSON types themselves, string keys and allowed nesting. One pass, level by level."""
    level: list[Any] = [value]
    scalars, depth = _SCALARS, 0
    while level:
        depth += 1
        if depth > NESTING_MAX:
            return False
        below: list[Any] = []
        for container in level:
            kind = type(container)  # pyright: ignore[reportUnknownVariableType]
            if kind is dict:
                for key, item in container.items():
                    if type(key) is not str:
                        return False
                    if type(item) not in scalars:
                        below.append(item)
            elif kind is list or kind is tuple:
                below += [item for item in container if type(item) not in scalars]
            else:
                return False
        level = below if len(below) < _WIDE else _distinct(below)
    return True


def _distinct(values: list[Any]) -> list[Any]:
    # Without this, a list that holds itself twice would double at each level.
    return list({id(value): value for value in values}.values())


def _refuse(value: object, what: str, advice: str) -> None:
    """Raises EncodingError for the first fault in the value, the shallowest first; returns when there is none."""
    level: list[tuple[str, object]] = [("$", value)]
    for depth in range(NESTING_MAX + 1):
        below: list[tuple[str, object]] = []
        for path, item in level:
            fault = _fault(item, advice) or (
                _TOO_DEEP if depth == NESTING_MAX and _holds_others(item) else None
            )
            if fault is not None:
                path = path if len(path) <= _PATH_SHOWN else path[:_PATH_SHOWN] + "…"
                raise EncodingError(f"{what} cannot be recorded: at {path}, {fault}")
            below.extend(_children(path, item))
        level = (
            below if len(below) < _WIDE else list({id(item): (path, item) for path, item in below}.values())
        )


def _fault(item: object, advice: str) -> str | None:
    """What is wrong with a value itself, its children apart."""
    if isinstance(item, str):
        return _surrogate(item)
    if isinstance(item, float):
        return None if math.isfinite(item) else f"{item} is not a JSON number; use None or a string"
    if isinstance(item, int):
        return (
            None
            if item.bit_length() < _INT_BITS_MAX
            else "an integer has more than 4,200 digits; use a string"
        )
    if isinstance(item, dict):
        return next(filter(None, map(_key_fault, cast("dict[object, object]", item))), None)
    if item is None or isinstance(item, list | tuple):
        return None
    return f"a value of type {type(item).__qualname__} is not JSON; {advice or _ADVICE}"


def _holds_others(item: object) -> bool:
    return isinstance(item, list | tuple | dict)


def _key_fault(key: object) -> str | None:
    if isinstance(key, str):
        fault = _surrogate(key)
        return fault and f"in a key, {fault}"
    return f"a key is of type {type(key).__qualname__}; JSON has string keys only, use str(key)"


def _surrogate(text: str) -> str | None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"a lone surrogate at index {error.start} is not a character; decode the text with errors='replace'"
    return None


def _children(path: str, item: object) -> list[tuple[str, object]]:
    if isinstance(item, dict):
        return [
            (f"{path}.{key}" if key.isidentifier() else f"{path}[{json.dumps(key[:60])}]", child)
            for key, child in cast("dict[str, object]", item).items()
        ]
    if isinstance(item, list | tuple):
        return [(f"{path}[{index}]", child) for index, child in enumerate(cast("list[object]", item))]
    return []
