"""`perdure events list`: whatever was sent, by whom it was."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from perdure.logs import Topic, open_log
from tests.cli.terminal import told

PAID = {"name": "shop/paid", "data": {"order": 7}}
CLOUD = {"specversion": "1.0", "id": "c-1", "source": "/bank", "type": "bank/settled", "data": {"cents": 5}}


def append(url: str, values: list[bytes]) -> None:
    """As somebody would who knows nothing of perdure."""

    async def appending() -> None:
        log = open_log(url)
        await log.open()
        for number, value in enumerate(values):
            done: asyncio.Future[object] = asyncio.get_running_loop().create_future()
            log.producer().append(Topic.EVENTS, number % 2, value, done=done.set_result)
            assert isinstance(await done, int)
        await log.close()

    asyncio.run(appending())


def test_events_of_other_producers_are_listed_and_the_newest_are_kept(tmp_path: Path) -> None:
    (tmp_path / ".perdure").mkdir()
    append(
        f"sqlite:///{tmp_path}/.perdure/log.db",
        [json.dumps(PAID).encode(), b"\\x00 nothing that can be read", json.dumps(CLOUD).encode()],
    )
    told(tmp_path, "events", "send", "order/placed", '{"n": 1}')
    found = json.loads(told(tmp_path, "events", "list", "--json"))
    assert [event["name"] for event in found] == ["order/placed", "bank/settled", "shop/paid"]
    assert found[2]["data"] == {"order": 7}
    newest = json.loads(told(tmp_path, "events", "list", "--json", "--limit", "2"))
    assert newest == found[:2]
    paid = json.loads(told(tmp_path, "events", "list", "--json", "--name", "shop/*"))
    assert paid == found[2:]
