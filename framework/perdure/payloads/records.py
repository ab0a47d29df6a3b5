"""Where payloads lie in events, failures and ops: sealed on their way into a record, opened on their way out of it.

What stands in the clear in any case: names, ids, keys and times of events, functions and steps, tags, the values that
waits match by, the types of errors, and the reasons that people give.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any, Final

from perdure.core import failures, ops, payload, sealed
from perdure.core.ids import shown_step
from perdure.core.ops import EventData, Failure, Op
from perdure.core.sealed import Reference
from perdure.errors import EncodingError, PayloadDamaged
from perdure.payloads.vault import Packed, Vault

__all__ = ["Opener", "Sealer", "seal_event", "seal_failure"]

_MARK: Final = sealed.MARK.decode()
_TOLD: Final = "perdure/function."
"""The names of the events by which the engine tells of runs: payloads of these lie in their JSON."""
_SIGNS: Final = (b"$sealed", b"u0000perdure/")

_DATA: Final = {
    ops.STEP_DONE: "result",
    ops.RUN_DONE: "result",
    ops.SIGNAL_GIVEN: "data",
    ops.SIGNAL_SENT: "data",
    ops.SIGNAL_ANSWERED: "answer",
    ops.VALUE_SET: "value",
}
_FAILED: Final = frozenset({ops.STEP_FAILED, ops.ATTEMPT_FAILED, ops.RUN_FAILED})
_EVENT: Final = frozenset({ops.EVENT_GIVEN, ops.CHILD_ISSUED, ops.RUN_RESTARTED})


class _Walk:
    """Goes through what a record has, and changes the payloads in it."""

    def data(self, data: bytes, what: str) -> bytes:
        raise NotImplementedError

    def failure(self, failure: Failure) -> Failure:
        raise NotImplementedError

    def event(self, event: EventData) -> EventData:
        raise NotImplementedError

    def op(self, op: Op) -> Op:
        """An op with its payloads changed; the same object when there are none."""
        name, body = op
        if (field := _DATA.get(name)) is not None:
            data: bytes | None = body[field]
            return op if data is None else self._changed(op, field, self.data(data, _what(name, body)))
        if name in _FAILED:
            return self._changed(op, "error", self.failure(body["error"]))
        if name in _EVENT:
            return self._changed(op, "event", self.event(body["event"]))
        if name == ops.EVENTS_SENT:
            return name, {**body, "events": [self.event(event) for event in body["events"]]}
        if name == ops.CHILD_ENDED:
            return self._changed(op, "outcome", self._outcome(body["outcome"]))
        if name == ops.END_HELD:
            return self._changed(op, "end", self.op(body["end"]))
        return op

    def _outcome(self, outcome: Op) -> Op:
        name, body = outcome
        if name == ops.CHILD_DONE:
            return self._changed(outcome, "result", self.data(body["result"], "the result of a child"))
        if name == ops.CHILD_FAILED:
            return self._changed(outcome, "error", self.failure(body["error"]))
        return outcome

    @staticmethod
    def _changed(op: Op, field: str, value: Any) -> Op:
        name, body = op
        return op if value is body[field] else (name, {**body, field: value})


class Sealer(_Walk):
    """Seals what is to be recorded. `kept` is what has to be in the store before that."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self.kept: list[Packed] = []

    def data(self, data: bytes, what: str) -> bytes:
        """Raises PayloadTooLarge."""
        if sealed.is_sealed(data) or len(data) <= self._vault.plain_max:
            return data
        packed = self._vault.pack(data, what)
        if packed.name:
            self.kept.append(packed)
        return packed.recorded

    def failure(self, failure: Failure) -> Failure:
        return seal_failure(self._vault, failure)

    def event(self, event: EventData) -> EventData:
        return seal_event(self._vault, event)


class Opener(_Walk):
    """Opens what was recorded. Raises PayloadLocked and PayloadDamaged.

    What lies in the store has to be in `fetched`, by the names of the objects. Where it is not, null stands in its
    place, and `wanted` names what has to be fetched before all can be opened again.
    """

    def __init__(self, vault: Vault, fetched: Mapping[str, bytes] | None = None) -> None:
        self._vault = vault
        self._fetched = fetched or {}
        self.wanted: dict[str, Reference] = {}

    def data(self, data: bytes, what: str = "") -> bytes:
        if not sealed.is_sealed(data):
            return data
        wanted = self._vault.wanted(data)
        if wanted is not None and wanted.name not in self._fetched:
            self.wanted[wanted.name] = wanted
            return b"null"
        return self._vault.open(data, self._fetched)

    def failure(self, failure: Failure) -> Failure:
        text = failure["traceback"]
        if not text.startswith(_MARK):
            return failure
        head, _, body = text.partition("\n")
        try:
            whole = f"{head}\n".encode() + b64decode(body, validate=True)
        except ValueError as error:
            raise PayloadDamaged("an encrypted error cannot be read: its bytes were changed") from error
        # Those of earlier versions have no data.
        message, traceback, *more = payload.loads(self._vault.open(whole))
        opened: Failure = {**failure, "message": message, "traceback": traceback, "data": "".join(more)}
        return opened

    def event(self, event: EventData) -> EventData:
        data = self.data(event["data"])
        if event["name"].startswith(_TOLD) and any(sign in data for sign in _SIGNS):
            data = self._told(data)
        return event if data is event["data"] else {**event, "data": data}

    def _told(self, data: bytes) -> bytes:
        """What the engine tells of a run: its payloads are values in the JSON."""
        try:
            told: dict[str, Any] = payload.loads(data)
        except EncodingError:
            return data
        places: list[tuple[dict[str, Any], str]] = [(told, "result"), (told, "data")]
        if isinstance(told.get("event"), dict):
            places.append((told["event"], "data"))
        for holder, field in places:
            if (inner := sealed.unnested(holder.get(field))) is not None:
                holder[field] = payload.loads(self.data(inner))
        if isinstance(told.get("error"), dict):
            error: Any = {"data": "", **told["error"]}
            opened = self.failure(error)
            told["error"] = failures.told(opened) if opened is not error else told["error"]
        return payload.dumps(told)


def seal_event(vault: Vault, event: EventData) -> EventData:
    """An event with its data sealed. Only where payloads are encrypted: other programs read events, too.

    What the engine tells of runs stays as it is: the payloads in it are sealed already, and what they refer to in the
    store has to be found by whoever looks for what is still needed.
    """
    if not vault.encrypts or (event["name"].startswith(_TOLD) and event["id"].startswith("perdure/")):
        return event
    data = vault.seal(event["data"])
    return event if data is event["data"] else {**event, "data": data}


def seal_failure(vault: Vault, failure: Failure) -> Failure:
    """A failure of which nobody reads more than its type without the key. Only where payloads are encrypted: it is
    small, and people look at it."""
    if not vault.encrypts or failure["traceback"].startswith(_MARK):
        return failure
    made = vault.seal(payload.dumps([failure["message"], failure["traceback"], failure["data"]]))
    header = sealed.header_of(made)
    text = made[: header.body].decode() + b64encode(made[header.body :]).decode()
    return {**failure, "message": f"({shown_of(made)})", "traceback": text, "data": ""}


def shown_of(data: bytes) -> str:
    """What a sealed payload is, for those who cannot open it."""
    header = sealed.header_of(data)
    how = [f"{name} {argument}".rstrip() for name, argument in reversed(header.codecs)]
    word = "encrypted" if any(argument for _, argument in header.codecs) else "sealed"
    size = header.reference.size if header.reference is not None else len(data) - header.body
    where = ", in the store of payloads" if header.reference is not None else ""
    return f"{word}: {', '.join(how) or 'plain'}, {size:,} bytes{where}"


def _what(name: str, body: Mapping[str, Any]) -> str:
    """What messages call the payload of an op."""
    if name == ops.VALUE_SET:
        return f"the value {body['name']!r}"
    if name in (ops.SIGNAL_GIVEN, ops.SIGNAL_SENT):
        return f"the data of signal {body['name']!r}"
    if name == ops.SIGNAL_ANSWERED:
        return "the answer to a request"
    return (
        "the result of the run" if name == ops.RUN_DONE else f"the result of step {shown_step(body['key'])!r}"
    )
