"""`perdure events list --skipped`: the starts that did not happen."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from perdure import App, Context
from perdure.cli.root import app as commands


def test_starts_that_did_not_happen_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path}/log.db"
    monkeypatch.setenv("PERDURE_LOG", url)

    async def fill() -> None:
        shop = App("shop", log=url)

        @shop.function(on="order/placed", if_=lambda event: event.data["cents"] > 0)
        async def bill(ctx: Context) -> None: ...

        async with shop.worker():
            await shop.send("order/placed", {}, id="odd")
            async with asyncio.timeout(10):
                while not await shop.runs.skipped():
                    await asyncio.sleep(0.01)
        await shop.close()

    asyncio.run(fill())
    shown = CliRunner().invoke(commands, ["events", "list", "--skipped", "--json"])
    (skip,) = json.loads(shown.stdout)
    found: dict[str, Any] = {
        "event": "odd",
        "function": "bill",
        "time": skip["time"],
        "reason": skip["reason"],
    }
    assert (skip, "KeyError" in skip["reason"]) == (found, True)
    assert "KeyError" in CliRunner().invoke(commands, ["events", "list", "--skipped"]).stdout
    refused = CliRunner().invoke(commands, ["events", "list", "--skipped", "--name", "a"])
    assert (refused.exit_code, "does not go with --name" in refused.output) == (2, True)
