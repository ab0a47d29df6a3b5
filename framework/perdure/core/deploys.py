"""Which definitions are in force: the registry, folded.

A *deploy* is one set of definitions, known by its content. It ranks by where the registry first named it, so a restart
of old code is no deploy. In force is the highest that a living worker has: a lower one comes back only when it is put
over the one in force, which its workers do when nobody of that one answers any more (decision 9).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from perdure.core import codec
from perdure.core.facts import APP

RANK = "rank"
SEEN = "seen"
NOTE = "note"
KNOWN_MAX = 64
"""Deploys that are told apart; older ones would count as new."""

PAUSE = "pause"
"""The note of a function that is paused, or goes on; its key names the function."""

LIMIT = "limit"
"""The note of a limit whose numbers are changed, or are those of the code again; its key names the limit."""

NUMBERS = ("limit", "period", "burst", "timeout", "bytes")
"""What of a limit may be changed while it is in force."""

Note = Literal["put", "known", "ask", "here", "pause", "limit"]


@dataclass(frozen=True, slots=True)
class Deploy:
    """One set of definitions. `config` is its `Config` record with version 0."""

    digest: str
    rank: int
    config: dict[str, Any]


def digest_of(value: bytes) -> str:
    """The name of a deploy, from its encoded `Config` record."""
    return hashlib.blake2b(value, digest_size=16).hexdigest()


def pause_key(function: str) -> str:
    """The key of what the registry says of a function's pause: a compacted topic keeps the last."""
    return f"pause {function}"


def limit_key(limit: str) -> str:
    """The key of what the registry says of a limit."""
    return f"limit {limit}"


def note_of(headers: Mapping[str, bytes]) -> str:
    """What an entry of the registry is for."""
    return headers.get(NOTE, b"put").decode(errors="replace")


def number_of(headers: Mapping[str, bytes], name: str) -> int:
    """The number in a header; 0 for none."""
    text = headers.get(name, b"")
    return int(text) if text.isdigit() else 0


@dataclass(slots=True)
class Deploys:
    """What the registry says so far."""

    known: dict[str, Deploy] = field(default_factory=dict[str, Deploy])
    current: Deploy | None = None
    version: int = 0
    """After the entry that put the deploy in force there, paused a function or changed a limit; it grows with each."""
    paused: dict[str, str] = field(default_factory=dict[str, str])
    """The functions of which nothing is started, and why: whatever is deployed."""
    limits: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """The limits whose numbers are not those of the code, by their ids: whatever is deployed."""

    def take(self, offset: int, value: bytes, headers: Mapping[str, bytes]) -> bool:
        """Folds one entry; whether another deploy is in force now.

        Raises EncodingError for definitions that this version of perdure cannot read. What no worker has written says
        nothing, whatever it looks like.
        """
        note = note_of(headers)
        if APP in headers and note == PAUSE:
            body = codec.decode(value)[1]
            return self._noted(
                offset, self.paused, body["function"], body["reason"] if body["paused"] else None
            )
        if APP in headers and note == LIMIT:
            body = codec.decode(value)[1]
            limit = body["limit"]
            return self._noted(offset, self.limits, limit["id"], limit if body["changed"] else None)
        if APP not in headers or note not in ("put", "known"):
            return False
        digest = digest_of(value)
        deploy = self.known.get(digest)
        if deploy is None:
            config = codec.decode(value)[1] | {"version": 0}
            deploy = self.known[digest] = Deploy(digest, number_of(headers, RANK) or offset + 1, config)
            self._forget()
        if note == "known" or not self._counts(deploy, number_of(headers, SEEN)):
            return False
        self.current, self.version = deploy, offset + 1
        return True

    def config(self) -> dict[str, Any] | None:
        """What is in force; None before any deploy."""
        if self.current is None:
            return None
        config: dict[str, Any] = self.current.config | {"version": self.version, "paused": dict(self.paused)}
        if self.limits:
            config["functions"] = [self._limited(function) for function in config["functions"]]
        return config

    @property
    def functions(self) -> Sequence[dict[str, Any]]:
        """The definitions in force, as the code has them; none before any deploy."""
        return () if self.current is None else self.current.config["functions"]

    def _limited(self, function: dict[str, Any]) -> dict[str, Any]:
        specs = [spec | self.numbers(spec["id"]) for spec in function.get("flow", ())]
        return {**function, "flow": specs} if specs else function

    def numbers(self, limit: str) -> dict[str, int]:
        """The numbers that hold for a limit instead of those in the code; none when these hold."""
        changed = self.limits.get(limit)
        return {} if changed is None else {name: changed[name] for name in NUMBERS}

    def _noted(self, offset: int, noted: dict[str, Any], name: str, value: Any) -> bool:
        """Something stands beside the deploys from here on, or, with None, does no longer."""
        if noted.get(name) == value:
            return False
        if value is None:
            del noted[name]
        else:
            noted[name] = value
        self.version = offset + 1
        return self.current is not None

    def _counts(self, deploy: Deploy, seen: int) -> bool:
        """By its rank, or since whoever put it there had seen that one which is in force. The one in force counts
        again: a late reader of a compacted topic knows of the last time only."""
        current = self.current
        return current is None or deploy is current or deploy.rank > current.rank or seen >= self.version

    def _forget(self) -> None:
        if len(self.known) > KNOWN_MAX:
            lowest = min((d for d in self.known.values() if d is not self.current), key=lambda d: d.rank)
            del self.known[lowest.digest]
