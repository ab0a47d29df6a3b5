"""CEL: what an expression over an event says (Common Expression Language, cel.dev), by Google's own library.

The library bounds what an expression may cost: 10,000 iterations, 32 levels of brackets, and regular expressions that
take time in proportion to the text. It comes with `perdure[cel]`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from importlib import import_module
from typing import Any, Final

from perdure.core import conditions
from perdure.core.conditions import Condition, WaitCondition
from perdure.core.durations import from_us
from perdure.errors import UsageError

__all__ = ["CEL_CHARACTERS_MAX", "check", "check_value", "check_wait", "tester", "valuer", "wait_tester"]

CEL_CHARACTERS_MAX: Final = 4_096
"""How long an expression may be."""
_OWN: Final = ("name", "id", "key", "ts")
_WAIT_ROOTS: Final = ("event", conditions.AWAITED)
WaitTest = Callable[[Mapping[str, Any], Mapping[str, Any]], bool]
_COMPILED_MAX: Final = 4_096
_REASON_CHARACTERS_MAX: Final = 300

_AT: Final = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")
_CODE: Final = re.compile(r"\s*\[[A-Z_]+\]\s*$|^[A-Z_]+: ")


@cache
def _library() -> Any:
    try:
        return import_module("cel_expr_python.cel")
    except ImportError as error:
        raise UsageError(
            "a condition such as if_='event.data.amount > 100' needs CEL: pip install \"perdure[cel]\". Without it,"
            " a condition is of equalities alone, joined by &&"
        ) from error


@cache
def _environment(*roots: str) -> Any:
    kinds = _library().Type
    # A time is no part of a map there, so that it is a variable of its own; the others are typed by the way.
    own = {
        f"{root}.{name}": kinds.TIMESTAMP if name == "ts" else kinds.STRING for root in roots for name in _OWN
    }
    return _library().NewEnv(variables=dict.fromkeys(roots, kinds.DYN) | own)


def _compiled(text: str, *roots: str) -> Any:
    """Raises UsageError, with the place, for what is no expression, or cannot be true or false."""
    expression = _expression(text, *roots)
    kinds = _library().Type
    given = expression.return_type()
    if given not in (kinds.BOOL, kinds.DYN):
        raise UsageError(f"it is {_article(given.name().lower())}, and has to be true or false")
    return expression


@lru_cache(maxsize=_COMPILED_MAX)
def _expression(text: str, *roots: str) -> Any:
    """Raises UsageError, with the place, for what is no expression."""
    if len(text) > CEL_CHARACTERS_MAX:
        raise UsageError(
            f"it has {len(text)} characters, and {CEL_CHARACTERS_MAX} at most may be; do it in a step"
        )
    if not text.strip():
        raise UsageError('it is empty; leave if_ out, or write one such as event.data.plan == "premium"')
    try:
        return _environment(*(roots or ("event",))).compile(text)
    except RuntimeError as error:  # the library has no type of its own for it
        raise UsageError(_placed(str(error), text)) from None


def _placed(said: str, text: str) -> str:
    """The library's first complaint, with its place in the text."""
    found = _AT.search(said)
    if found is None:
        return _CODE.sub("", _CODE.sub("", said)).strip()
    line, column = int(found[1]), int(found[2])
    reason = _CODE.sub("", found[3]).strip().replace(" (in container '')", "")
    lines = text.splitlines() or [""]
    where = f"column {column}" if len(lines) == 1 else f"line {line}, column {column}"
    shown = lines[min(line, len(lines)) - 1]
    return f"{reason} (at {where})\n    {shown}\n    {' ' * (column - 1)}^"


def _article(kind: str) -> str:
    return f"an {kind}" if kind[:1] in "aeiou" else f"a {kind}"


def check(text: str) -> Condition:
    """The condition that a text is. Raises UsageError for one that cannot be."""
    condition = conditions.parse(text)
    if condition.rest or not condition.equals:
        _compiled(text)
        if condition.equals:
            _compiled(condition.rest)
    return condition


def tester(condition: Condition) -> Callable[[Mapping[str, Any]], bool]:
    """What evaluates the rest of a condition over an event, as `conditions.projected` gives it.

    That raises UsageError when the expression fails: a field that is not there, two types that do not fit, too many
    iterations. Raises UsageError for one that cannot be compiled.
    """
    expression = _compiled(condition.rest)
    return lambda event: _holds(expression, _given("event", event), condition.text)


def check_wait(text: str) -> WaitCondition:
    """The condition of a wait that a text is. Raises UsageError for one that cannot be."""
    condition = conditions.parse_wait(text)
    if condition.rest or not condition.pairs:
        _compiled(text, *_WAIT_ROOTS)
        if condition.pairs:
            _compiled(condition.rest, *_WAIT_ROOTS)
    if not condition.pairs and not re.search(rf"\b{conditions.AWAITED}\b", text):
        raise UsageError(
            "it asks nothing of the event that comes: that is async, as in async.data.order == event.data.order; "
            "event is the one that began the run"
        )
    return condition


@lru_cache(maxsize=_COMPILED_MAX)
def wait_tester(text: str) -> WaitTest:
    """What tells whether an event fulfils the condition of a wait: given the run's own event and the one that came,
    each as a `paths.event_view`.

    That raises UsageError when the expression fails. Raises UsageError for a text that cannot be compiled.
    """
    condition = conditions.parse_wait(text)
    expression = _compiled(condition.rest, *_WAIT_ROOTS) if condition.rest else None

    def test(own: Mapping[str, Any], came: Mapping[str, Any]) -> bool:
        for path, other, value in condition.pairs:
            wanted = value if other is None else conditions.value_at(own, other)
            if wanted is None or conditions.value_at(came, path) != wanted:
                return False
        if expression is None:
            return True
        data = _given("event", conditions.projected(own, condition.own_reads))
        data |= _given(conditions.AWAITED, conditions.projected(came, condition.reads))
        return _holds(expression, data, text)

    return test


def _given(root: str, event: Mapping[str, Any]) -> dict[str, Any]:
    """The variables that an expression sees of an event."""
    data: dict[str, Any] = {root: event}
    for name in _OWN:
        if name in event:
            data[f"{root}.{name}"] = from_us(event[name]) if name == "ts" else event[name]
    return data


def _holds(expression: Any, data: Mapping[str, Any], text: str) -> bool:
    try:
        value = _evaluated(expression, data)
    except UsageError as error:
        raise UsageError(_reason(text, str(error))) from error
    if value.type() == _library().Type.BOOL:
        return value.value()
    raise UsageError(_reason(text, f"it is {_article(value.type().name().lower())}, and not true or false"))


def _evaluated(expression: Any, data: Mapping[str, Any]) -> Any:
    """The library's value. Raises UsageError with what it says of a failure."""
    try:
        value = expression.eval(data=data)
    except (RuntimeError, ValueError, TypeError, OverflowError) as failure:
        raise UsageError(str(failure)) from failure
    if value.type() == _library().Type.ERROR:  # an error is a value, too, and must never be taken for a yes
        raise UsageError(str(value.value()))
    return value


def check_value(text: str) -> None:
    """Raises UsageError for an expression that cannot be, or cannot be a text, a number, true or false."""
    kinds = _library().Type
    given = _expression(text).return_type()
    if given not in (kinds.STRING, kinds.INT, kinds.UINT, kinds.DOUBLE, kinds.BOOL, kinds.DYN):
        raise UsageError(f"it is {_article(given.name().lower())}, and has to be a text or a number")


def valuer(text: str) -> Callable[[Mapping[str, Any]], object]:
    """What an expression says of an event: a text, a number, true or false.

    That raises UsageError when the expression fails, or says something else. Raises UsageError for one that cannot be.
    """
    expression, parsed = _expression(text), conditions.parse(text)
    reads = [*(path for path, _ in parsed.equals), *parsed.reads]

    def value_of(event: Mapping[str, Any]) -> object:
        try:
            value = _evaluated(expression, _given("event", conditions.projected(event, reads)))
        except UsageError as error:
            raise UsageError(
                _CODE.sub("", _CODE.sub("", str(error))).strip()[:_REASON_CHARACTERS_MAX]
            ) from error
        plain = value.value()
        if isinstance(plain, str | int | float | bool):
            return plain
        raise UsageError(f"it is {_article(value.type().name().lower())}, and has to be a text or a number")

    return value_of


def _reason(text: str, said: str) -> str:
    plain = _CODE.sub("", _CODE.sub("", said)).strip()
    return f"if_ failed: {plain:.{_REASON_CHARACTERS_MAX}} (in {text:.{_REASON_CHARACTERS_MAX}})"
