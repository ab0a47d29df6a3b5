"""The context that a `def` body gets."""

from __future__ import annotations

import asyncio
from typing import Any, NoReturn

from typing_extensions import TypeVar

from perdure.execution.context import BaseContext, FailedRun
from perdure.execution.sync_desk import SyncDesk
from perdure.execution.sync_step import SyncStep

__all__ = ["SyncContext", "SyncFailureContext"]

E_co = TypeVar("E_co", covariant=True, default=dict[str, Any])


class SyncContext(BaseContext[E_co]):
    """The context of a `def` body, which is run again from the top at every wait. `E` is what `ctx.event.data` is."""

    __perdure_body__ = "def"

    def __init__(self, desk: SyncDesk) -> None:
        super().__init__(desk)
        self.step = SyncStep(desk)
        """The durable operations."""

    def restart_with(self, data: Any) -> NoReturn:
        """Ends this run and begins it anew under the same id, with an empty history: see `Context.restart_with`."""
        self._begin_anew(data)
        raise asyncio.CancelledError("the run begins anew")


class SyncFailureContext(FailedRun[E_co], SyncContext[E_co]):
    """The context of a failure handler that is a `def`."""
