"""`app.runs`: lists runs, and steers many at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, cast, get_args

from typing_extensions import TypedDict, Unpack

from perdure.authoring.functions import Function
from perdure.authoring.payloads import codec_of
from perdure.authoring.registry import Registry
from perdure.authoring.sending import checked_tags
from perdure.client.connections import Connections
from perdure.client.handle import Handle, checked_reason
from perdure.core import codec, ids
from perdure.core.durations import Duration, instant_us, to_us
from perdure.core.limits import Limits
from perdure.core.state import ENDED, Run, Status
from perdure.errors import EntryTooLarge, PayloadTooLarge, RunNotFound, UsageError
from perdure.index.reader import Skip
from perdure.index.views import RunView
from perdure.steering.reading import Readings
from perdure.steering.repeats import taken_over

__all__ = ["RunFilter", "Runs", "StatusFilter"]

StatusFilter = Status | Literal["live", "ended"]
"""A status of runs, or `"live"` or `"ended"` for all that are of that kind."""
COMMANDS_AT_ONCE = 200
ENTRY_SLACK = 16 * 1024
"""Of a record, beside the command in it."""
LISTED = 100


class RunFilter(TypedDict, total=False):
    """Which runs are meant: all that is given must fit."""

    function: Function[Any, Any] | str | None
    """Runs of this function, or of its id."""
    status: StatusFilter | Iterable[StatusFilter] | None
    """One status, or several."""
    since: Duration | datetime | None
    """Created since then: a duration back from now, or an aware datetime."""
    tags: Mapping[str, str] | None
    """All of which the run must have."""


class Runs:
    """The runs of an app.

    Lists are read from the log: the first one reads it from its beginning, later ones what is new. `RunFilter` says
    which filters there are. Raises UsageError for those that nothing can fit.
    """

    def __init__(
        self,
        connections: Callable[[], Connections],
        functions: Registry,
        now: Callable[[], int],
        limits: Limits,
    ) -> None:
        self._connections = connections
        self._functions = functions
        self._now = now
        self._limits = limits
        self._readings = Readings(connections)

    async def list(self, *, limit: int = LISTED, **which: Unpack[RunFilter]) -> Sequence[RunView]:
        """Runs, the newest first, `limit` at most: those that are kept, which are the live ones, and the ended ones for
        24 h."""
        if limit < 1:
            raise UsageError(f"runs.list(limit={limit}): use 1 or more")
        fits = self._filter(which)
        reader = await self._readings.read()
        found = [run.id for run in reader.runs() if fits(run)][:limit]
        return [view for run_id in found if (view := reader.view(run_id)) is not None]

    async def get(self, run_id: str) -> RunView:
        """A run with all that the log says of it. Raises RunNotFound."""
        view = (await self._readings.read()).view(run_id)
        if view is None:
            raise RunNotFound(
                f"no run {run_id!r:.80} is known: it never started, or it ended and is forgotten"
            )
        return view

    async def skipped(
        self,
        *,
        function: Function[Any, Any] | str | None = None,
        since: Duration | datetime | None = None,
        limit: int = LISTED,
    ) -> Sequence[Skip]:
        """Starts that did not happen, and why, the newest first: an event or a tick that was to start a function.

        An event under the id of another one, which says something else, is here even if it starts nothing;
        `function` is empty then.

        As far back as the log is kept, and of each partition the last 10,000. Those that flow control has dropped are
        runs, too, with the status `skipped`, and are known for 24 h.
        """
        after = self._after(since)
        wanted = None if function is None else self._function_id(function)
        reader = await self._readings.read()
        fitting = (skip for skip in reader.skips() if skip.time >= after and wanted in (None, skip.function))
        return [skip for _, skip in zip(range(limit), fitting, strict=False)]

    async def rerun(
        self,
        run_id: str,
        *,
        from_step: str | None = None,
        id: str | None = None,  # noqa: A002
    ) -> Handle[Any]:
        """Starts a new run of the same function, with the same event and tags, by the code that is deployed now.

        With `from_step` (a step's id, with its index when it was used before) it takes over how everything ended that
        the body asked for before that step: steps, sleeps, waits and invocations are not done again, nor are events
        sent. That step and what comes after it are. `id`: as of `app.start`. The other run stays as it is. Limits on
        what runs at once and at which pace hold for the new one; those on what events start do not.

        Raises RunNotFound for a run that is not known; UsageError for a step that it has not come to, for a run of a
        batch, or when its history is no longer in the log; PayloadTooLarge when what is taken over does not fit a
        record.
        """
        reader = await self._readings.read()
        found = reader.recorded(run_id)
        if found is None:
            raise RunNotFound(
                f"no run {run_id!r:.80} is known: it never started, or it ended and is forgotten"
            )
        run, accepted = found
        if from_step is not None and not accepted:
            raise UsageError(
                f"the history of run {run_id} is no longer in the log; rerun it from its beginning"
            )
        if run.admission is not None and len(run.admission.events) > 1:
            raise UsageError(
                f"run {run_id} had a batch of {len(run.admission.events)} events, and a rerun would have the first"
                " alone: send the events again, with new ids"
            )
        reuse = [] if from_step is None else taken_over(accepted, from_step, run_id)
        function = self._functions.get(run.function)
        client = await self._connections().client()
        new = client.new_run_id() if id is None else ids.named_run(run.function, id)
        more = {"repeats": run_id, "reuse": reuse}
        too_large = (
            f"what run {run_id} has before {from_step!r} does not fit a record, which takes "
            f"{self._limits.entry_bytes_max:,} bytes; rerun it from an earlier step"
        )
        # The bound of Kafka, on each log: what can be rerun does not depend on where it is.
        if reuse:
            value = codec.encode(
                "StartRun", {"function": run.function, "event": run.event, "tags": run.tags, **more}
            )
            if len(value) > self._limits.entry_bytes_max - ENTRY_SLACK:
                raise PayloadTooLarge(too_large)
        try:
            end = await client.start_run(new, run.function, run.event, run.tags, **more)
        except EntryTooLarge as error:
            raise PayloadTooLarge(too_large) from error
        result = codec_of(Any, "the result") if function is None else function.codec
        return Handle(new, self._connections().client, result, self._limits, end)

    async def cancel(
        self, *, reason: str = "", force: bool = False, **which: Unpack[RunFilter]
    ) -> Sequence[str]:
        """Cancels all live runs that fit, as `Handle.cancel` does; their ids, once the wish is durable for each.

        Runs that are made meanwhile are none of them. Without any filter it raises UsageError: say `status="live"` for
        all.
        """
        body = {"reason": checked_reason(reason), "force": force}
        return await self._steer("CancelAsk", body, self._some(which))

    async def pause(self, *, reason: str = "", **which: Unpack[RunFilter]) -> Sequence[str]:
        """Pauses all live runs that fit, as `Handle.pause` does; their ids. Raises UsageError without a filter."""
        fits = self._some(which)
        return await self._steer("PauseAsk", {"reason": checked_reason(reason)}, fits)

    async def resume(self, **which: Unpack[RunFilter]) -> Sequence[str]:
        """Lets all paused and parked runs that fit go on, as `Handle.resume` does; their ids.

        Raises UsageError without a filter.
        """
        fits = self._some(which)
        still = ("paused", "parked")
        return await self._steer("ResumeAsk", {"reason": ""}, lambda run: run.status in still and fits(run))

    async def _steer(self, name: str, body: Mapping[str, Any], fits: Callable[[Run], bool]) -> Sequence[str]:
        reader = await self._readings.read()
        found = [run.id for run in reader.runs() if run.live and fits(run)]
        client = await self._connections().client()
        for at in range(0, len(found), COMMANDS_AT_ONCE):
            some = found[at : at + COMMANDS_AT_ONCE]
            await asyncio.gather(*(client.command(run_id, name, body) for run_id in some))
        return found

    # ------------------------------------------------------------------ filters

    def _some(self, which: RunFilter) -> Callable[[Run], bool]:
        if not any(which.values()):
            raise UsageError('this would steer every run of the app; say which, or status="live" for all')
        return self._filter(which)

    def _filter(self, which: RunFilter) -> Callable[[Run], bool]:
        unknown = which.keys() - RunFilter.__annotations__.keys()
        if unknown:
            known = ", ".join(RunFilter.__annotations__)
            raise UsageError(f"runs have no filter {min(unknown)!r}; there are {known}")
        function, status = which.get("function"), which.get("status")
        wanted = None if function is None else self._function_id(function)
        statuses = None if status is None else _statuses(status)
        after = self._after(which.get("since"))
        having = checked_tags(which.get("tags") or {}).items()

        def fits(run: Run) -> bool:
            return (
                wanted in (None, run.function)
                and (statuses is None or run.status in statuses)
                and run.created >= after
                and having <= run.tags.items()
            )

        return fits

    def _function_id(self, function: Function[Any, Any] | str) -> str:
        """Of an id that no code here has, there may be runs all the same."""
        return function if isinstance(function, str) else self._functions.resolve(function).id

    def _after(self, since: Duration | datetime | None) -> int:
        if since is None:
            return 0
        return instant_us(since, what="since") if isinstance(since, datetime) else self._now() - to_us(since)


def _statuses(given: StatusFilter | Iterable[StatusFilter]) -> set[str]:
    known: tuple[str, ...] = get_args(Status)
    ended = ENDED
    found: set[str] = set()
    for status in cast("Iterable[str]", (given,) if isinstance(given, str) else given):
        if status == "live":
            found |= {*known} - ended
        elif status == "ended":
            found |= ended
        elif status in known:
            found.add(status)
        else:
            raise UsageError(f"status={status!r:.80}: use {', '.join(known)}, or live, or ended")
    return found
