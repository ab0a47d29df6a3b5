"""`app.runs`: lists runs, and steers many at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, cast, get_args

from typing_extensions import TypedDict, Unpack

from perdure.authoring.functions import Function
from perdure.authoring.registry import Registry
from perdure.authoring.sending import checked_tags
from perdure.client.connections import Connections
from perdure.client.handle import checked_reason
from perdure.core.durations import Duration, instant_us, to_us
from perdure.core.state import Run, Status
from perdure.errors import RunNotFound, UsageError
from perdure.index.reader import Skip
from perdure.index.views import RunView, run_view
from perdure.steering.reading import Readings

__all__ = ["RunFilter", "Runs", "StatusFilter"]

StatusFilter = Status | Literal["live", "ended"]
"""A status of runs, or `"live"` or `"ended"` for all that are of that kind."""
COMMANDS_AT_ONCE = 200
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
        self, connections: Callable[[], Connections], functions: Registry, now: Callable[[], int]
    ) -> None:
        self._connections = connections
        self._functions = functions
        self._now = now
        self._readings = Readings(connections)

    async def list(self, *, limit: int = LISTED, **which: Unpack[RunFilter]) -> Sequence[RunView]:
        """Runs, the newest first, `limit` at most: those that are kept, which are the live ones, and the ended ones for
        24 h."""
        if limit < 1:
            raise UsageError(f"runs.list(limit={limit}): use 1 or more")
        fits = self._filter(which)
        reader = await self._readings.read()
        found = [run for run in reader.runs() if fits(run)][:limit]
        return [run_view(run, reader.ops(run.id)) for run in found]

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

        As far back as the log is kept, and of each partition the last 10,000.
        """
        after = self._after(since)
        wanted = None if function is None else self._function_id(function)
        reader = await self._readings.read()
        fitting = (skip for skip in reader.skips() if skip.time >= after and wanted in (None, skip.function))
        return [skip for _, skip in zip(range(limit), fitting, strict=False)]

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
    ended = {"completed", "failed", "cancelled"}
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
