"""What a body's annotation says that its context is: the events it carries, and which kind of body takes it.

The context types live in a layer above, so they are known by the `__perdure_body__` that they carry: "async def",
"def", or "" for a base of both. Whatever is annotated without one (Any, a protocol, nothing at all) is not judged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin

from pydantic import BaseModel

from perdure.authoring.annotations import first_annotation
from perdure.authoring.events import Event
from perdure.authoring.triggers import Trigger

__all__ = ["annotated_models", "context_fault"]

_BODY: Final = "__perdure_body__"


def annotated_models(body: Callable[..., Any]) -> tuple[type[Event], ...]:
    """The event classes that a body's annotation names: A and B of `ctx: Context[A | B]`.

    For when all types are defined: what it finds is kept.
    """
    try:
        return _kept_models(body)
    except TypeError:  # an object with __call__ that cannot be hashed
        return tuple(_models_in(first_annotation(body)))


@lru_cache(maxsize=4096)
def _kept_models(body: Callable[..., Any]) -> tuple[type[Event], ...]:
    return tuple(_models_in(first_annotation(body)))


def context_fault(body: Callable[..., Any], *, is_async: bool, triggers: Sequence[Trigger]) -> str | None:
    """Why a body cannot take the context that it is annotated with, and what to write; None when it can.

    A name in the annotation that is not defined yet is passed over.
    """
    members = list(_members(first_annotation(body)))
    kinds = [getattr(get_origin(member) or member, _BODY, None) for member in members]
    if None in kinds:
        return None
    wanted = "async def" if is_async else "def"
    if wanted not in kinds and "" not in kinds:
        member = members[0]
        fitting = _spelled(_context_name(member, is_async), [_name(part) for part in _carried(member)])
        return (
            f"it is {_article(wanted)}, which gets a {_context_name(member, is_async)}, but takes a "
            f"{_spelled(_context_name(member, not is_async), [])}; write ctx: {fitting}, or make it "
            f"{_article(str(kinds[0]))}"
        )
    return _carried_fault(members, is_async, triggers)


def _carried_fault(members: Sequence[object], is_async: bool, triggers: Sequence[Trigger]) -> str | None:
    parts = [part for member in members for part in _carried(member)]
    if not parts or not all(_is_model(part) for part in parts):
        return None  # a plain Context, or one of dict[str, Any]: it takes whatever comes
    for trigger in triggers:
        if not any(_fits(trigger, part) for part in parts):
            what = "a dict" if trigger.model is None else f"a {trigger.model.__name__}"
            takes = _spelled(_context_name(members[0], is_async), [_name(part) for part in parts])
            write = _spelled(_context_name(members[0], is_async), list(dict.fromkeys(_given(triggers))))
            return (
                f"the data of the event {trigger.name!r}, which starts it, is {what}, but it takes a {takes}; "
                f"write ctx: {write}, or change on="
            )
    return None


def _fits(trigger: Trigger, part: Any) -> bool:
    if trigger.model is not None:
        # Changed is what Changed[int] was made of.
        return issubclass(trigger.model, part) or _generic(part) is _generic(trigger.model)
    return trigger.name.endswith("*") or getattr(part, "__perdure_name__", None) == trigger.name


def _given(triggers: Sequence[Trigger]) -> Iterator[str]:
    for trigger in triggers:
        yield "dict[str, Any]" if trigger.model is None else _name(trigger.model)


def _generic(model: type[BaseModel]) -> object:
    return model.__pydantic_generic_metadata__["origin"] or model


def _members(hint: object) -> Iterator[object]:
    """The members of a union, or the one that it is."""
    if get_origin(hint) in (Union, UnionType):
        for part in get_args(hint):
            yield from _members(part)
    else:
        yield hint


def _carried(member: object) -> Iterator[object]:
    """What a context carries: A and B of Context[A | B]."""
    for argument in get_args(member):
        yield from _members(argument)


def _models_in(hint: object) -> Iterator[type[Event]]:
    if isinstance(hint, type) and issubclass(hint, Event):
        yield hint
    for part in get_args(hint):
        yield from _models_in(part)


def _is_model(part: object) -> bool:
    return isinstance(part, type) and issubclass(part, BaseModel)


def _context_name(member: object, is_async: bool) -> str:
    """What the context of a body is called; this one, or its counterpart for the other kind of bodies."""
    kind: Any = get_origin(member) or member
    own = next(base for base in kind.__mro__ if base.__module__.startswith("perdure."))
    name = own.__name__.removeprefix("Sync")
    return name if is_async else f"Sync{name}"


def _spelled(context: str, carried: Sequence[str]) -> str:
    return f"{context}[{' | '.join(carried)}]" if carried else context


def _name(part: object) -> str:
    return part.__name__ if isinstance(part, type) else repr(part).replace("typing.", "")


def _article(kind: str) -> str:
    return f"an {kind}" if kind.startswith("a") else f"a {kind}"
