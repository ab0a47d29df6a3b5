"""`perdure dead-letters`: what was buried is listed with its reason and place, shown, and sent again."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from perdure import App, Context
from perdure.cli.root import app as commands
from perdure.client.client import Client
from perdure.core import codec
from perdure.logs import open_log
from perdure.logs.contract import Topic

GARBAGE = codec.MARKER + b"from a newer version"


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A log with two dead letters of events, and one of the journal."""
    found = f"sqlite:///{tmp_path}/log.db?partitions=2"

    async def fill() -> None:
        shop = made(found)
        client = await shop._connect().client()
        async with shop.worker():
            await client.append(Topic.EVENTS, 1, b"hello\nworld", key="k1", headers={"who": b"me"})
            await client.append(Topic.EVENTS, 1, GARBAGE)
            await client.append(Topic.JOURNAL, 0, b"garbage")
            await until(client, 3)
        await shop.close()

    asyncio.run(fill())
    monkeypatch.setenv("PERDURE_LOG", found)
    return found


def made(url: str) -> App:
    shop = App("shop", log=url)

    @shop.function(on="perdure/function.failed")
    async def failures(ctx: Context) -> None: ...

    return shop


async def until(client: Client, letters: int) -> None:
    async with asyncio.timeout(20):
        while (await client.log.bounds(Topic.DEAD_LETTERS, 0))[1] < letters:
            await asyncio.sleep(0.01)


def run(*words: str) -> Result:
    return CliRunner().invoke(commands, ["dead-letters", *words])


def listed(*words: str) -> Any:
    done = run("list", "--json", *words)
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


def test_they_are_listed_with_reason_and_place(url: str) -> None:
    by_topic = {(letter["topic"], letter["partition"], letter["offset"]): letter for letter in listed()}
    hello = by_topic["events", 1, 0]
    assert "neither an event of perdure, nor JSON" in hello["reason"]
    assert (hello["key"], hello["headers"], hello["bytes"], hello["redriven"]) == (
        "k1",
        {"who": "me"},
        11,
        None,
    )
    assert len(by_topic) == 3
    assert len(listed("--limit", "1")) == 1
    shown = run("list").output
    assert "events 1:0" in shown
    assert "journal 0:" in shown


def test_one_is_shown_with_its_value(url: str) -> None:
    number = next(letter["number"] for letter in listed() if letter["bytes"] == 11)
    shown = run("show", str(number))
    assert shown.exit_code == 0
    assert "hello world" in shown.output
    assert "who=me" in shown.output
    assert json.loads(run("show", str(number), "--json").output)["value"] == "hello\nworld"
    wrong = run("show", "99")
    assert (wrong.exit_code, "there is no dead letter 99" in wrong.output) == (2, True)


def test_what_is_not_mended_comes_back(url: str) -> None:
    events = [letter["number"] for letter in listed() if letter["topic"] == "events"]
    (journal,) = [letter["number"] for letter in listed() if letter["topic"] == "journal"]
    done = run("redrive", "--all")
    assert (done.exit_code, done.output) == (0, "sent 2 events again: a worker takes them up\n")
    assert [letter["number"] for letter in listed()] == [journal]
    assert sorted(letter["number"] for letter in listed("--all") if letter["redriven"]) == sorted(events)
    assert run("redrive", "--all").output == "sent 0 events again\n"

    refused = run("redrive", str(events[0]))
    assert (refused.exit_code, "was sent again already; --again" in refused.output) == (2, True)
    assert run("redrive", str(events[0]), "--again").output.startswith("sent 1 event again")
    refused = run("redrive", str(journal))
    assert (refused.exit_code, "is about the journal" in refused.output) == (1, True)
    for words in ([], ["3", "--all"]):
        assert run("redrive", *words).exit_code == 2

    async def take_up() -> None:
        shop = made(url)
        client = await shop._connect().client()
        (_, marked) = await client.log.bounds(Topic.DEAD_LETTERS, 0)
        async with shop.worker():
            await until(client, marked + 3)
        await shop.close()

    asyncio.run(take_up())
    assert len([letter for letter in listed() if letter["topic"] == "events"]) == 3


def test_the_doctor_counts_those_that_wait_for_somebody(url: str) -> None:
    def doctor() -> Result:
        return CliRunner().invoke(commands, ["doctor"])

    assert "3 dead letters: perdure dead-letters list" in doctor().output
    run("redrive", "--all")
    assert "1 dead letter: perdure dead-letters list" in doctor().output


def test_a_log_without_any_says_so(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/empty.db"

    async def make() -> None:
        log = open_log(url)
        await log.open()
        await log.close()

    asyncio.run(make())
    assert run("list", "--log", url).output == "no dead letter\n"
