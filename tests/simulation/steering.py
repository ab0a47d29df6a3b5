"""People who pause, resume and cancel runs while the service lives through its seed."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from perdure.client.client import Client
from perdure.core.state import STILL
from perdure.errors import LogError
from tests.simulation import programs
from tests.simulation.audit import Audit


class Steering:
    """Commands to runs that the log shows as live."""

    def __init__(self, rnd: random.Random, audit: Audit, client: Client) -> None:
        self._rnd = rnd
        self._audit = audit
        self._client = client
        self.under_way: list[asyncio.Task[Any]] = []

    def act(self) -> None:
        """Somebody asks something of some run; often of one that was asked something before."""
        runs = [run for state in self._audit.states for run in state.live_runs()]
        known = [run for run in runs if run.commands]
        if not runs:
            return
        run = self._rnd.choice(known if known and self._rnd.random() < 0.6 else runs)
        name = self._rnd.choice(("PauseAsk", "PauseAsk", "ResumeAsk", "ResumeAsk", "CancelAsk"))
        if name == "CancelAsk" and run.function not in programs.CANCELLABLE:
            name = "PauseAsk"
        self._ask(run.id, name)

    def resume_all(self) -> bool:
        """Whether any run stood still, and is asked to go on."""
        if self.under_way:
            return False
        still = [
            run.id
            for state in self._audit.states
            for run in state.live_runs()
            if run.status in STILL and not any(item.name == "perdure.ResumeAsk" for item in run.inbox)
        ]
        for run_id in still:
            self._ask(run_id, "ResumeAsk")
        return bool(still)

    def _ask(self, run_id: str, name: str) -> None:
        body = {"reason": ""} | ({"force": self._rnd.random() < 0.5} if name == "CancelAsk" else {})

        async def asked() -> None:
            try:
                await self._client.command(run_id, name, body)
            except LogError:
                return  # nobody knows whether it was asked

        task = asyncio.get_running_loop().create_task(asked())
        self.under_way.append(task)
        task.add_done_callback(self.under_way.remove)
