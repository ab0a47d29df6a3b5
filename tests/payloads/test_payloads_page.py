"""docs/payloads.md is true: its code runs, and does what it says."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from perdure import App, PayloadError
from perdure.core.limits import DAY_US, DEFAULT_LIMITS, KB, MB, MINUTE_US
from perdure.testing import environment
from tests.house.sources import ROOT

PAGE = (ROOT / "docs" / "payloads.md").read_text(encoding="utf-8")


@pytest.mark.asyncio
async def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_KEY", base64.b64encode(bytes(range(32))).decode())
    code = PAGE.partition("```python\n")[2].partition("```")[0]
    code = code.replace("file:///tmp/shop-payloads", f"file://{tmp_path}")
    space: dict[str, Any] = {"__name__": "shop"}
    exec(compile(code, "payloads.md", "exec"), space)
    app: App = space["app"]
    async with environment(app) as env:
        run = await env.start(space["archive"])
        assert len(list(env.vault.store.names())) == 1  # type: ignore[union-attr]
        await env.advance("8h")
        assert run.result == 2_000_000


def test_what_it_says_of_limits_and_errors() -> None:
    limits = DEFAULT_LIMITS
    assert (limits.payload_bytes_max, limits.stored_payload_bytes_max) == (384 * KB, 256 * MB)
    assert (limits.payload_store_time_max, limits.payload_time_max) == (10 * MINUTE_US, 7 * DAY_US)
    for kind in PayloadError.__subclasses__():
        assert f"| `{kind.code}` |" in PAGE
