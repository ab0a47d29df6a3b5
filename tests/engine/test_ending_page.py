"""docs/ending.md is true: its code runs, does what it says, and the tests that it names are there."""

from __future__ import annotations

import re
from typing import Any

import pytest

from perdure import App
from perdure.testing import environment
from tests.house.sources import ROOT

pytestmark = pytest.mark.asyncio
PAGE = (ROOT / "docs" / "ending.md").read_text(encoding="utf-8")


async def test_the_page_runs() -> None:
    code = PAGE.partition("```python\n")[2].partition("```")[0]
    space: dict[str, Any] = {"__name__": "shop"}
    exec(compile(code, "ending.md", "exec"), space)
    app: App = space["app"]
    async with environment(app) as env:
        (one,) = await env.send("order/placed", {"order": 1, "customer": "ann"})
        await env.send("order/cancelled", {"order": 1})
        assert (one.status, space["stock"]) == ("cancelled", ["reserved 1", "put back 1"])

        (two,) = await env.send("order/placed", {"order": 2, "customer": "bob"})
        await env.advance("2d")
        assert two.status == "failed"
        assert [run.status for run in env.runs("ship:on-failure")] == ["completed"]
        assert space["stock"][-1].startswith("sorry, bob: ")
        space["broken"].clear()
        rerun = await app.runs.rerun(two.id, from_step="charge")
        await env.settle()
        assert await rerun.result("5s") == "paid for reservation 2"
        assert space["stock"].count("reserved 2") == 1

        await space["steer"]()
        await env.settle()
        await env.advance("1d")
        assert [run.result for run in env.runs("remind")] == ["user-7"]


async def test_the_tests_that_it_names_are_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
    assert len(named) > 15
    missing = [
        f"{path}::{name}"
        for path, name in named
        if f"def {name}(" not in (ROOT / path).read_text(encoding="utf-8")
    ]
    assert missing == []
