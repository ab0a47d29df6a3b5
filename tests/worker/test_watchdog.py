"""B6: whoever blocks the event loop is named, while it does."""

from __future__ import annotations

import asyncio
import logging
import threading
import time

import pytest

from tests.worker.attempts import WITHIN_S, outcome, working
from tests.worker.processes import until

pytestmark = pytest.mark.asyncio


class Heard(logging.Handler):
    """Warnings, as the log gets them: from the watchdog's thread, while the loop is blocked."""

    def __init__(self) -> None:
        super().__init__()
        self.warnings: list[str] = []
        self.warned = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.warnings.append(record.getMessage())
        self.warned.set()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture(autouse=True)
def listening(heard: Heard) -> object:
    logger = logging.getLogger("perdure.worker")
    logger.addHandler(heard)
    yield
    logger.removeHandler(heard)


async def test_a_step_that_blocks_the_loop_is_named_while_it_does(heard: Heard) -> None:
    async def other() -> None:
        await asyncio.sleep(0.01)

    async def reads_slowly() -> bool:
        await asyncio.sleep(0)
        return heard.warned.wait(WITHIN_S)  # blocks until it is found out

    async with working(blocked_s=0.05) as steps:
        await outcome(steps, other)
        result = await outcome(steps, reads_slowly, key="/slow")
        assert result.result == b"true"
        await until(lambda: len(heard.warnings) == 2)
    blocked, over = heard.warnings
    assert "blocked for 0." in blocked
    assert "step 'slow' of run run-1" in blocked
    assert "return heard.warned.wait(WITHIN_S)" in blocked
    assert "a def step" in blocked
    assert "runs again; step 'slow' of run run-1 blocked it for" in over


async def test_a_step_that_waits_blocks_nothing(heard: Heard) -> None:
    async def wait() -> None:
        await asyncio.sleep(0.15)

    async with working(blocked_s=0.05) as steps:
        await outcome(steps, wait)
        await outcome(steps, time.sleep, 0.15)  # in a thread
    assert not heard.warnings


async def test_it_costs_nothing_when_no_async_step_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    async def quick() -> None: ...

    async with working(blocked_s=0.01) as steps:
        watchdog = steps._watchdog
        assert not watchdog.armed
        assert watchdog._thread is None
        await outcome(steps, quick)
        await until(lambda: not watchdog.armed)
        loop = asyncio.get_running_loop()
        asked: list[object] = []
        with monkeypatch.context() as patched:
            patched.setattr(loop, "call_soon_threadsafe", asked.append)
            await asyncio.sleep(0.05)
        assert not asked
        armed: list[bool] = []
        arm = watchdog.arm
        monkeypatch.setattr(watchdog, "arm", lambda: (armed.append(True), arm()))
        await outcome(steps, quick)
        assert armed == [True]
