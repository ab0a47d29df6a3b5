"""docs/flow-control.md is true: its code runs, and does what it says."""

from __future__ import annotations

from typing import Any

import pytest

from perdure import App
from perdure.testing import environment
from tests.engine.flow import counted
from tests.house.sources import ROOT

pytestmark = pytest.mark.asyncio


async def test_the_page_runs() -> None:
    page = (ROOT / "docs" / "flow-control.md").read_text(encoding="utf-8")
    code = page.partition("```python\n")[2].partition("```")[0]
    space: dict[str, Any] = {"__name__": "shop"}
    exec(compile(code, "flow-control.md", "exec"), space)
    app: App = space["app"]
    async with environment(app) as env:
        order = {"customer": "ann", "order": 7}
        await env.send([{"name": "order/placed", "data": order}] * 3)
        assert counted(env, "pay") == {"completed": 1, "skipped": 2}
        await env.send([{"name": "mail/wanted", "data": {"to": f"{n}", "domain": "d"}} for n in range(62)])
        assert counted(env, "send-mail") == {"completed": 60, "queued": 2}
        await env.send([{"name": "click", "data": {}}] * 250)
        for n in range(3):
            await env.send("page/changed", {"page": "/", "text": f"text {n}"})
        for _ in range(3):
            await env.send("report/wanted", {})
        await env.advance("3m")
        assert counted(env, "send-mail") == {"completed": 62}
        assert sorted(run.result for run in env.runs("count") if run.status == "completed") == [50, 100, 100]
        assert [run.result for run in env.runs("index") if run.status == "completed"] == ["text 2"]
        assert counted(env, "report") == {"cancelled": 2, "completed": 1}
