"""What people see of sealed payloads: what is in them, where the keys are there, and else what they are."""

from __future__ import annotations

from copy import copy

from perdure.core import payload
from perdure.core.ops import EventData, Failure, Op
from perdure.core.sealed import is_sealed
from perdure.core.state import Run
from perdure.errors import PayloadError
from perdure.payloads.records import Opener, shown_of
from perdure.payloads.vault import Vault

__all__ = ["Reading"]


class Reading:
    """Opens what a reader shows. What it cannot open is shown as a string in brackets, never as an error: to look at a
    run must always be possible.

    What lies in the store is fetched where `fetches` says so; it blocks then.
    """

    def __init__(self, vault: Vault | None = None, *, fetches: bool = False) -> None:
        self._opener = _Shown(vault or Vault(), fetches)

    def op(self, op: Op) -> Op:
        """An op, with JSON in the place of each payload."""
        return self._opener.op(op)

    def event(self, event: EventData) -> EventData:
        """An event, with JSON as its data."""
        return self._opener.event(event)

    def run(self, run: Run) -> Run:
        """A run, with JSON in the place of each payload: a copy, if there is any."""
        opener = self._opener
        event = opener.event(run.event)
        result = run.result
        plain = event is run.event and (result is None or not is_sealed(result)) and run.error is None
        if plain and not any(map(is_sealed, run.values.values())):
            return run
        seen = copy(run)
        seen.event = event
        seen.result = None if result is None else opener.data(result)
        seen.error = None if run.error is None else opener.failure(run.error)
        seen.values = {name: opener.data(value) for name, value in run.values.items()}
        return seen


class _Shown(Opener):
    def __init__(self, vault: Vault, fetches: bool) -> None:
        super().__init__(vault)
        self._fetches = fetches

    def data(self, data: bytes, what: str = "") -> bytes:
        if not is_sealed(data):
            return data
        try:
            if self._fetches:
                return self._vault.load(data)
            opened = super().data(data)
            if not self.wanted:
                return opened
            self.wanted.clear()
            return payload.dumps(f"({shown_of(data)})")
        except PayloadError as error:
            return payload.dumps(_told(data, error))

    def failure(self, failure: Failure) -> Failure:
        try:
            return super().failure(failure)
        except PayloadError:
            return {**failure, "traceback": "", "data": ""}

    def event(self, event: EventData) -> EventData:
        try:
            return super().event(event)
        except PayloadError as error:
            return {**event, "data": payload.dumps(_told(event["data"], error))}


def _told(data: bytes, error: PayloadError) -> str:
    """What stands in the place of what cannot be opened."""
    try:
        return f"({shown_of(data)}; {error.code})"
    except PayloadError:
        return f"({error.code})"
