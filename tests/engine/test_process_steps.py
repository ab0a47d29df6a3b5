"""Steps in other processes, as the runs that they are of see them: a real process on a virtual clock."""

from __future__ import annotations

from pathlib import Path

import pytest

from perdure import Context
from perdure.testing import environment
from tests.engine.going_on import app
from tests.worker import functions
from tests.worker.processes import gone, until

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("force", [False, True], ids=["cancelled", "forced"])
async def test_a_process_that_runs_a_step_is_killed_when_its_run_is_cancelled(
    tmp_path: Path, force: bool
) -> None:
    a = app()
    pids = tmp_path / "pids"
    cleaned: list[str] = []

    @a.function(retries=0)
    async def work(ctx: Context) -> None:
        try:
            await ctx.step.options(executor="process").run("long", functions.sleep_beside, str(pids))
        finally:
            if not ctx.evicting:
                await ctx.step.run("clean", cleaned.append, "cleaned")

    async with environment(a) as env:
        handle = await a.start(work, {})
        await until(lambda: pids.exists() and pids.read_text().endswith("\n"))
        await handle.cancel(force=force)
        process, _ = pids.read_text().split()
        await gone(int(process))
        await env.settle()
        assert (await handle.status(), cleaned) == ("cancelled", [] if force else ["cleaned"])
        again = await env.start(a.functions.resolve("fine"), {})
        assert again.result == 8
