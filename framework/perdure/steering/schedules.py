"""`app.schedules`: what starts functions by the clock, made and steered while the app runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from perdure.authoring.calendar import calendar
from perdure.authoring.cron import Cron
from perdure.authoring.functions import Function
from perdure.authoring.names import text_fault
from perdure.client.connections import Connections
from perdure.client.handle import checked_reason
from perdure.core import ids, routing
from perdure.core.durations import from_us
from perdure.core.state import PartitionState, Schedule
from perdure.errors import UsageError
from perdure.steering.reading import Readings

__all__ = ["ScheduleView", "Schedules"]

ANSWERED_S = 5.0
"""How long a wish waits for a worker to say what became of it. It is in the log all the same."""


@dataclass(frozen=True, slots=True)
class ScheduleView:
    """A schedule as the log has it."""

    id: str
    function: str
    cron: Cron
    declared: bool
    """Whether code declares it, with `on=Cron(…)`; else it was made at run time."""
    paused: bool
    next: datetime | None
    """Its next tick; None while it is paused."""
    run: str
    """The newest run that it started; empty when there was none."""
    waiting: int
    """Ticks that wait for that run to end."""
    reason: str = ""
    """Why it is paused, as somebody said."""


class Schedules:
    """The schedules of an app: those that its code declares, and those that are made at run time, as many as one for
    each user in a time zone of their own.

    All that changes one is durable when it returns. Where a worker runs, it has also been taken up by then, and
    UsageError says why it could not be.
    """

    def __init__(
        self,
        connections: Callable[[], Connections],
        id_of: Callable[[Function[Any, Any] | str], str],
        now: Callable[[], int],
    ) -> None:
        """`id_of`: the id of a function that is there. Raises UsageError for any other."""
        self._connections = connections
        self._id_of = id_of
        self._now = now
        self._readings = Readings(connections)

    async def create(
        self,
        id: str,  # noqa: A002
        function: Function[Any, Any] | str,
        cron: Cron | str,
    ) -> None:
        """Makes a schedule, or replaces the one of that id; it begins now. The same again changes nothing.

        Its ticks start the function with a `Tick` that names the schedule. Raises UsageError for an id or a cron that
        cannot be, and for a function that is not there.
        """
        if fault := text_fault(id):
            raise UsageError(f"the id {id!r:.80} of a schedule {fault}")
        function_id = self._id_of(function)
        cron = Cron(cron) if isinstance(cron, str) else cron
        if not isinstance(cron, Cron):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(f'schedule {id!r}: {cron!r:.80} is no Cron; write Cron("0 9 * * *", tz="UTC")')
        spec = {
            "id": id,
            "cron": cron.expression,
            "tz": cron.tz,
            "jitter": cron.jitter_us,
            "catch_up": cron.catch_up,
            "overlap": cron.overlap,
        }
        await self._steer(id, "SchedulePut", {"function": function_id, "schedule": spec})

    async def pause(self, id: str, *, reason: str = "") -> None:  # noqa: A002
        """Lets a schedule tick no more until `resume`; also one that code declares. Its runs go on."""
        await self._ask(id, "pause", reason)

    async def resume(self, id: str) -> None:  # noqa: A002
        """Lets a paused schedule tick again, from now on: what it left out is not made up for."""
        await self._ask(id, "resume")

    async def delete(self, id: str) -> None:  # noqa: A002
        """Ends a schedule that was made at run time. Its runs go on. Nothing happens when there is none."""
        await self._ask(id, "delete")

    async def trigger(self, id: str) -> str:  # noqa: A002
        """Starts a run of the schedule's function now, beside its ticks, also while it is paused; the run's id."""
        command = await self._ask(id, "trigger")
        partitions = (await self._connections().get()).log.generations[0]
        return ids.placed_run(1, routing.schedule_partition(id, partitions), "trigger", command)

    async def list(self) -> Sequence[ScheduleView]:
        """All schedules, in the order of their ids."""
        reader = await self._readings.read()
        found = [
            view
            for partition in reader.partitions
            for known, schedule in partition.state.schedules.items()
            if (view := self._view(partition.state, known, schedule)) is not None
        ]
        return sorted(found, key=lambda view: view.id)

    def _view(self, state: PartitionState, known: str, schedule: Schedule) -> ScheduleView | None:
        found = routing.scheduled(state.config, known) if schedule.put is None else _put(schedule.put)
        if found is None:
            return None
        function, spec = found
        cron = Cron(
            spec["cron"],
            tz=spec["tz"],
            jitter=spec["jitter"] / 1e6,
            catch_up=spec["catch_up"],
            overlap=spec["overlap"],
        )
        due = calendar(cron.expression, cron.tz).next(max(schedule.last, self._now()))
        return ScheduleView(
            known,
            function,
            cron,
            schedule.put is None,
            schedule.paused,
            None if schedule.paused else from_us(due),
            schedule.run,
            len(schedule.waiting),
            schedule.reason,
        )

    async def _ask(self, known: str, wish: str, reason: str = "") -> str:
        if fault := text_fault(known):
            raise UsageError(f"the id {known!r:.80} of a schedule {fault}")
        return await self._steer(known, "ScheduleAsk", {"wish": wish, "reason": checked_reason(reason)})

    async def _steer(self, known: str, name: str, body: dict[str, Any]) -> str:
        client = await self._connections().client()
        command = client.make_id()
        try:
            reply = await client.answer_to(f"{routing.SCHEDULE}{known}", name, body, command, ANSWERED_S)
        except TimeoutError:
            return command  # whoever leads next takes it up
        if reply["refused"] is not None:
            raise UsageError(f"schedule {known!r}: {reply['refused']}")
        return command


def _put(put: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return put["function"], put["schedule"]
