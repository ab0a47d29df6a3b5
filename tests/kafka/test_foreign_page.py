"""docs/foreign-events.md: its producers run as they stand there, against a real broker and a real registry."""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from typer.main import get_command

from perdure import App, Context, Event
from perdure.cli.root import app as commands
from tests.brokers import broker
from tests.brokers.registry import registry_of
from tests.house.sources import ROOT
from tests.testing.test_pages import blocks, files

PAGE = (ROOT / "docs" / "foreign-events.md").read_text(encoding="utf-8")


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with registry_of(tmp_path / "registry") as url:
        monkeypatch.setenv("PERDURE_SCHEMA_REGISTRY_URL", url)
        yield url


class UserCreated(Event, name="user/created", key="data.user_id"):
    user_id: str
    email: str


@pytest.mark.kafka
@pytest.mark.asyncio
async def test_its_producers_start_runs(registry: str) -> None:
    url = broker().url(partitions=2)
    heard: dict[str, tuple[str, str]] = {}
    app = App("shop", log=url)

    @app.function(on=UserCreated)
    async def onboard(ctx: Context[UserCreated]) -> None:
        heard[ctx.event.data.email] = (ctx.event.key, ctx.event.id)

    here = urlsplit(url)
    named = {
        "host:9092": here.netloc,
        "shop.events": f"{here.path.strip('/')}.events",
        "https://registry:8081": registry,
    }
    async with app.worker():
        for name, program in files(PAGE).items():
            for written, meant in named.items():
                program = program.replace(written, meant)
            await asyncio.to_thread(exec, compile(program, name, "exec"), {})
        async with asyncio.timeout(30):
            while len(heard) < 3:
                await asyncio.sleep(0.02)
    await app.close()
    assert heard["a@b.c"] == ("1", "signup-1")
    assert heard["b@b.c"] == ("2", "signup-2")
    assert heard["e@b.c"][0] == "5"


def test_its_commands_are_there() -> None:
    lines = [
        line for block in blocks(PAGE, "sh") for line in block.splitlines() if line.startswith("perdure ")
    ]
    assert len(lines) == 6
    for line in lines:
        _, group, name, *words = shlex.split(line, comments=True)
        command = get_command(commands).commands[group].commands[name]  # type: ignore[attr-defined]
        options = {option for parameter in command.params for option in parameter.opts}
        assert all(word in options for word in words if re.match("--", word)), line
