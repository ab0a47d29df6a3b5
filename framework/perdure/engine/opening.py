"""What records hold, on its way to a body: opened, and what lies in the store fetched first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from perdure.core import codec, sealed
from perdure.core.ops import Op
from perdure.core.state import Run
from perdure.engine.driver import Driver
from perdure.engine.patience import with_store
from perdure.engine.resident import Opened, Resident
from perdure.errors import PayloadError, PerdureError
from perdure.payloads.records import Opener
from perdure.payloads.vault import Vault

__all__ = ["Opening", "give"]

Fetched = Mapping[str, bytes]


class Opening:
    """The reading side of one claim's life. A body is given what it can read, or nothing: what cannot be opened parks
    its run, and never fails it."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._services = driver.services
        self._vault = driver.services.vault
        self._fetching: set[str] = set()
        """Runs that are woken once their objects are here."""
        self._fetched: dict[str, Fetched | PerdureError] = {}
        """What was fetched for a run that is about to be woken, or why it cannot be."""

    def record(self, run: Run) -> Opened | None:
        """What a run is woken with. None: objects are being fetched, and the run is woken when they are here.

        Raises PayloadError.
        """
        if run.id in self._fetching:
            return None
        fetched = self._fetched.pop(run.id, {})
        if isinstance(fetched, PerdureError):
            raise fetched
        opener = Opener(self._vault, fetched)
        event = opener.event(run.event)
        events = [] if run.admission is None else [opener.event(event) for event in run.admission.events]
        history: list[Sequence[Op]] = []
        for part in run.history:
            changes = codec.ops_of(part)
            history.append([opener.op(op) for op in changes] if sealed.MARK in part else changes)
        if not opener.wanted:
            return Opened(event, history, events)
        self._fetching.add(run.id)
        run_id = run.id
        with_store(
            self._services,
            run_id,
            None,
            _fetch(self._vault, opener),
            lambda found: self._wake(run_id, found),
            lambda: self._driver.life.acting,
        )
        return None

    def _wake(self, run_id: str, found: Fetched | PerdureError) -> None:
        self._fetching.discard(run_id)
        driver = self._driver
        run = driver.state.runs.get(run_id)
        if run is None or not run.live or not driver.life.acting:
            return
        self._fetched[run_id] = found
        driver.activate(run_id)
        self._fetched.pop(run_id, None)
        now = self._services.clock.now()
        for key, pending in list(run.pending.items()):  # what came due meanwhile
            if pending.due is not None and pending.due <= now and run_id in driver.residents:
                driver.fire(run_id, key, pending.due)


def give(driver: Driver, resident: Resident, op: Op) -> None:
    """Gives one op to the body, opened."""
    vault = driver.services.vault
    try:
        opener = Opener(vault)
        given = opener.op(op)
    except PayloadError as error:
        driver.park(resident, error)
        return
    if not opener.wanted:
        driver.release(resident, op, given)
        return
    resident.busy = True

    def fetched(found: Fetched | PerdureError) -> None:
        resident.busy = False
        if isinstance(found, PerdureError):
            driver.park(resident, found)
            return
        try:
            given = Opener(vault, found).op(op)
        except PayloadError as error:
            driver.park(resident, error)
            return
        driver.release(resident, op, given)
        driver.caught_up(resident)

    work = _fetch(vault, opener)
    with_store(driver.services, resident.run_id, resident, work, fetched, lambda: not resident.dead)


def _fetch(vault: Vault, opener: Opener) -> Callable[[], Fetched]:
    wanted = opener.wanted
    return lambda: {name: vault.fetch(reference) for name, reference in wanted.items()}
