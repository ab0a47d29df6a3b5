"""docs/waits.md is true: its code runs, and does what it says."""

from __future__ import annotations

from typing import Any

import pytest

from perdure import App
from perdure.testing import environment
from tests.house.sources import ROOT

pytestmark = pytest.mark.asyncio


async def test_the_page_runs() -> None:
    page = (ROOT / "docs" / "waits.md").read_text(encoding="utf-8")
    code = page.partition("```python\n")[2].partition("```")[0]
    space: dict[str, Any] = {"__name__": "shop"}
    exec(compile(code, "waits.md", "exec"), space)
    app: App = space["app"]
    async with environment(app) as env:
        (order,) = await env.send("order/placed", {"order": "7", "cents": 100})
        await env.send("order/paid", {"order": "7", "cents": 99})
        await env.send("order/paid", {"order": "8", "cents": 100})
        assert order.values == {}
        await env.send("order/paid", {"order": "7", "cents": 100})
        assert order.values == {"stage": "packing"}
        (packing,) = env.runs("pack")
        assert await space["move"](packing.id, "") == "say where to"
        assert await space["move"](packing.id, "Elm Street") == "Elm Street"
        await env.advance("11m")
        assert order.result == "parcel to Elm Street"
        (stars,) = env.runs("ask-for-stars")
        assert stars.status == "running"

        (unpaid,) = await env.send("order/placed", {"order": "9", "cents": 1})
        await env.advance("3d")
        assert unpaid.result == "not paid"

        (counting,) = await env.send("shop/opened")
        for _ in range(5):
            await env.send("shop/visited", key="k")
        assert (counting.values, counting.view.restarts) == ({"seen": 5}, 5)
