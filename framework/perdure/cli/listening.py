"""Who in an app listens to an event, for a warning about one that nobody does."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any

from perdure.app import App
from perdure.authoring.events import Event, event_name


def unheard(app: App, place: str, name: str) -> str:
    """What to say of an event that starts no function of the app and that no body seems to wait for; else empty."""
    if app.functions.triggered_by(name):
        return ""
    started = {trigger.name for function in app.functions for trigger in function.triggers}
    mentioned = {text for function in app.functions for text in _mentioned(function.body)}
    if name in mentioned:
        return ""
    known = started | {text for text in mentioned if "/" in text and " " not in text}
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"no function of {place} listens to {name}{hint}"


def _mentioned(body: Callable[..., Any]) -> Iterator[str]:
    """The texts and events that a body names: those it waits for are among them."""
    target = inspect.unwrap(body)
    code = getattr(target, "__code__", None)
    if not isinstance(code, CodeType):
        return
    names: dict[str, Any] = getattr(target, "__globals__", {})
    closed: dict[str, Any] = {}
    if inspect.isfunction(target):
        closed.update(inspect.getclosurevars(target).nonlocals)
    for part in _parts(code):
        yield from (constant for constant in part.co_consts if isinstance(constant, str))
        for name in (*part.co_names, *part.co_freevars):
            value = closed.get(name, names.get(name))
            if isinstance(value, str):
                yield value
            elif isinstance(value, type) and issubclass(value, Event) and value.__perdure_name__:
                yield event_name(value)


def _parts(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _parts(constant)
