"""Holds event classes against what a Schema Registry has of them, and registers them there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from perdure.authoring.events import Event
from perdure.authoring.subjects import changes, json_schema, subject_of
from perdure.errors import IncompatibleSchema, LogError

__all__ = ["Subjects", "Verdict", "check", "check_at_start", "judge", "register"]

CHECK_S = 10.0
log = logging.getLogger("perdure.registry")


class Version(Protocol):
    """A version of a subject."""

    @property
    def version(self) -> int: ...
    @property
    def text(self) -> str: ...


class Subjects(Protocol):
    """A Schema Registry. Its methods raise LogError when it does not answer."""

    async def registered(self, subject: str, text: str) -> int | None: ...
    async def latest(self, subject: str) -> Version | None: ...
    async def compatible(self, subject: str, text: str) -> bool: ...
    async def register(self, subject: str, text: str) -> int: ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a registry says of one event class."""

    event: str
    subject: str
    state: Literal["registered", "new", "changed", "refused"]
    """`registered`: it is there. `new`: nothing is. `changed`: it may be the next version. `refused`: it may not."""
    version: int
    """The newest version, or that which it is; 0 when there is none."""
    faults: tuple[str, ...]
    """Why it is refused, a sentence for each field."""
    schema: str

    def __str__(self) -> str:
        return f"{self.event}: " + "; ".join(self.faults)


async def judge(registry: Subjects, topic: str, models: Mapping[str, type[Event]]) -> list[Verdict]:
    """Looks at each class; nothing is registered. Raises LogError."""
    return [await _judged(registry, event, subject_of(topic, event), m) for event, m in models.items()]


async def _judged(registry: Subjects, event: str, subject: str, model: type[Event]) -> Verdict:
    schema = json_schema(event, model)
    there = await registry.registered(subject, schema)
    if there is not None:
        return Verdict(event, subject, "registered", there, (), schema)
    latest = await registry.latest(subject)
    if latest is None:
        return Verdict(event, subject, "new", 0, (), schema)
    if await registry.compatible(subject, schema):
        return Verdict(event, subject, "changed", latest.version, (), schema)
    faults = changes(latest.text, schema) or [
        "it does not fit an older version, or more than data is different"
    ]
    return Verdict(event, subject, "refused", latest.version, tuple(faults), schema)


async def check(registry: Subjects, topic: str, models: Mapping[str, type[Event]]) -> None:
    """Raises IncompatibleSchema, naming the fields, when the registry would refuse one of the classes; LogError."""
    _refuse(await judge(registry, topic, models))


async def check_at_start(registry: Subjects, topic: str, models: Mapping[str, type[Event]]) -> None:
    """Refuses to start when an event class has changed as its subject does not allow. A registry that does not answer
    keeps no worker from starting: what waits for one is worth more than the check."""
    try:
        async with asyncio.timeout(CHECK_S):
            await check(registry, topic, models)
    except (LogError, TimeoutError) as error:
        log.warning("the event classes could not be held against the Schema Registry: %s", error)


async def register(registry: Subjects, topic: str, models: Mapping[str, type[Event]]) -> list[Verdict]:
    """Registers what is not there yet, and says what was found. Raises as `check`, with nothing registered."""
    verdicts = await judge(registry, topic, models)
    _refuse(verdicts)
    made: list[Verdict] = []
    for verdict in verdicts:
        if verdict.state != "registered":
            await registry.register(verdict.subject, verdict.schema)
            there = await registry.registered(verdict.subject, verdict.schema)
            verdict = replace(verdict, version=there or 0)
        made.append(verdict)
    return made


def _refuse(verdicts: Sequence[Verdict]) -> None:
    refused = [verdict for verdict in verdicts if verdict.state == "refused"]
    if refused:
        lines = [f"the Schema Registry refuses what has changed under {v.subject}: {v}" for v in refused]
        lines.append("Change it in a way that fits what was sent before, or set another compatibility there.")
        raise IncompatibleSchema("\n".join(lines))
