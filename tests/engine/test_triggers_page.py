"""docs/triggers.md is true: its code runs, and does what it says."""

from __future__ import annotations

from typing import Any

import pytest

from perdure import App
from perdure.testing import environment
from tests.house.sources import ROOT

pytestmark = pytest.mark.asyncio


async def test_the_page_runs() -> None:
    page = (ROOT / "docs" / "triggers.md").read_text(encoding="utf-8")
    code = page.partition("```python\n")[2].partition("```")[0]
    space: dict[str, Any] = {"__name__": "shop"}
    exec(compile(code, "triggers.md", "exec"), space)
    app: App = space["app"]
    async with environment(app) as env:
        placed = await env.send("order/placed", {"customer": "ann", "cents": 20_000, "plan": "premium"})
        assert [run.result for run in placed] == ["thank you, ann"]
        assert await env.send("order/placed", {"customer": "bob", "cents": 20_000}) == []
        assert [run.result for run in await env.send("order/paid", {})] == ["order/paid"]
        await env.advance("2d")  # from midnight of Thursday, in UTC
        assert len(env.runs("tidy")) == 2 * 96
        assert [
            run.event["id"].partition("@")[2] for run in env.runs("report") if "@" in run.event["id"]
        ] == [
            "2026-01-01T08:00:00Z",
            "2026-01-02T08:00:00Z",
        ]
