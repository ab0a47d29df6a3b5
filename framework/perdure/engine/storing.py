"""What bodies and steps have made, on its way into a record: sealed, and what is large put into the store first."""

from __future__ import annotations

from collections.abc import Callable

from perdure.core import ops
from perdure.core.ops import Op
from perdure.engine.driver import Driver
from perdure.engine.patience import with_store
from perdure.engine.resident import Resident
from perdure.errors import PerdureError
from perdure.execution.model import Turn
from perdure.payloads.records import Sealer
from perdure.payloads.vault import Packed

__all__ = ["Stored", "Storing"]

Stored = Callable[[bytes | PerdureError], None]
"""Is given what a record holds, or why it cannot."""


class Storing:
    """The writing side of one claim's life. Nothing is appended that refers to what is not in the store."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._services = driver.services
        self._vault = driver.services.vault

    def result(self, resident: Resident, data: bytes, what: str, then: Stored) -> None:
        """Calls `then` with what a record holds for the result of a step: at once, unless it goes to the store."""
        vault = self._vault
        if len(data) <= vault.inline_max:
            try:
                recorded = vault.seal(data)
            except PerdureError as error:
                then(error)
                return
            if len(recorded) <= vault.inline_max:
                then(recorded)
                return
        made: list[Packed] = []

        def put() -> bytes:
            if not made:  # a second try puts the same bytes
                made.append(vault.pack(data, what))
            vault.keep(made[0])
            return made[0].recorded

        with_store(self._services, resident.run_id, resident, put, then, lambda: not resident.dead)

    def book(self, resident: Resident, opening: Op | None, turn: Turn) -> None:
        """Books a turn, once what it has made is as a record holds it."""
        if not self._concerns(turn):
            self._driver.turned(resident, opening, turn)
            return
        sealer = Sealer(self._vault)
        try:
            turn.ops = [sealer.op(op) for op in turn.ops]
            turn.values = {
                name: sealer.data(value, f"the value {name!r}") for name, value in turn.values.items()
            }
        except PerdureError as error:  # a codec that does not work
            self._driver.park(resident, error, opening)
            return
        kept = sealer.kept
        if not kept:
            self._driver.turned(resident, opening, turn)
            return
        resident.busy = True

        def put() -> None:
            for packed in kept:
                self._vault.keep(packed)

        def stored(error: PerdureError | None) -> None:
            resident.busy = False
            if error is None:
                self._driver.turned(resident, opening, turn)
            else:
                self._driver.park(resident, error, opening)
            self._driver.caught_up(resident)

        with_store(self._services, resident.run_id, resident, put, stored, lambda: not resident.dead)

    def _concerns(self, turn: Turn) -> bool:
        """Whether something of a turn is to be sealed or stored."""
        if self._vault.seals:
            return True
        if not turn.ended:
            return False
        name, body = turn.ops[-1]
        return name == ops.RUN_DONE and len(body["result"]) > self._vault.inline_max
