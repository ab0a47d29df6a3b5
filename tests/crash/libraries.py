"""Two versions of the library in one group, played by real processes on any log.

The newer one is a second source tree: this one with a record kind more and with one field more in `Released`. It reads
both forms, and writes the new ones in a partition whose level it has raised, which it does when a file is there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from perdure import App
from perdure.core import routing
from perdure.core.facts import NEEDS
from perdure.logs.contract import Topic
from tests.crash import verdict
from tests.crash.lives import ends_of
from tests.crash.processes import ROOT, Place, Zygote, until
from tests.crash.sending import as_client, send_event

PARTITIONS = 4
VERSION = "9.9.0"

_NOTED = {
    "type": "record",
    "name": "Noted",
    "namespace": "perdure",
    "doc": "A kind of record that only the newer version has.",
    "fields": [{"name": "text", "type": "string"}],
}
_CHANGES: dict[str, list[tuple[str, str]]] = {
    "core/codec.py": [
        ('"Message", "Messages", "Command"', '"Noted", "Message", "Messages", "Command"'),
        (
            "    return {s.prefix: s for s in map(schema, RECORDS)}",
            "    return {s.prefix: s for s in (*map(schema, RECORDS), newer('Released'))}",
        ),
        (
            "@cache\ndef _by_prefix()",
            (
                "@cache\n"
                "def newer(name: str) -> Schema:\n"
                "    file = schema_folder() / 'newer' / f'{NAMESPACE}.{name}.avsc'\n"
                "    parsed = fastavro.schema.load_schema(str(file))\n"
                "    canonical = fastavro.schema.to_parsing_canonical_form(parsed)\n"
                "    fingerprint = bytes.fromhex(fastavro.schema.fingerprint(canonical, 'CRC-64-AVRO'))\n"
                "    return Schema(name, parsed, MARKER + fingerprint)\n\n\n"
                "def encode_newer(name: str, body: Mapping[str, Any]) -> bytes:\n"
                "    out = BytesIO()\n"
                "    out.write(newer(name).prefix)\n"
                "    _write(out, newer(name).parsed, body)\n"
                "    return out.getvalue()\n\n\n"
                "@cache\ndef _by_prefix()"
            ),
        ),
    ],
    "core/fold/journal.py": [
        ("LEVEL = 1\n", "LEVEL = 2\n"),
        (
            '    "Message": _message,\n',
            (
                '    "Message": _message,\n'
                '    "Noted": lambda state, fact: None if _owned(state, fact) else "note of a former owner",\n'
            ),
        ),
    ],
    "engine/life.py": [
        (
            "        value = codec.encode(name, body)\n",
            (
                '        if name == "Released" and self.state.level > 1:\n'
                '            value = codec.encode_newer(name, body | {"build": "9"})\n'
                "        else:\n"
                "            value = codec.encode(name, body)\n"
            ),
        ),
        (
            "headers={KIND: name.encode(), STAMP: packed}",
            (
                "headers={KIND: name.encode(), STAMP: packed}"
                f' | ({{"needs": b"2 {VERSION}"}} if name in ("Level", "Noted")'
                ' or (name == "Released" and self.state.level > 1) else {})'
            ),
        ),
    ],
    "engine/lead.py": [
        (
            "        self.life.timers.begin()\n",
            (
                "        import os\n"
                '        if os.path.exists(os.environ["RAISE_LEVEL"]) and self.life.state.level < 2:\n'
                '            self.life.append("Level", {"level": 2}, lambda _fact, _void: None)\n'
                '            self.life.append("Noted", {"text": "hello"}, lambda _fact, _void: None)\n'
                "        self.life.timers.begin()\n"
            ),
        )
    ],
}


@contextmanager
def newer_library(folder: Path) -> Iterator[tuple[Zygote, Path]]:
    """A zygote of the newer version, and the file that has it raise the level."""
    for name in ("framework", "schemas", "tests/crash"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "tests" / "__init__.py", folder / "tests")
    for name, changes in _CHANGES.items():
        file = folder / "framework" / "perdure" / name
        text = file.read_text()
        for old, new in changes:
            assert text.count(old) == 1, (
                f"{name} has changed; so must the newer version of this test: {old!r}"
            )
            text = text.replace(old, new)
        file.write_text(text)
    schemas = folder / "schemas"
    (schemas / "perdure.Noted.avsc").write_text(json.dumps(_NOTED))
    released = json.loads((schemas / "perdure.Released.avsc").read_text())
    released["fields"].append({"name": "build", "type": "string", "default": ""})
    (schemas / "newer").mkdir()
    (schemas / "newer" / "perdure.Released.avsc").write_text(json.dumps(released))
    switch = folder / "raise"
    zygote = Zygote(folder, RAISE_LEVEL=str(switch))
    try:
        yield zygote, switch
    finally:
        zygote.close()


def raised(here: Place) -> set[int]:
    """The partitions with a record that needs a newer version."""

    async def looking(app: App) -> set[int]:
        log, found = (await app._connect().get()).log, set[int]()
        for number in range(PARTITIONS):
            position, end = await log.bounds(Topic.JOURNAL, number)
            while position < end and (batch := await log.read(Topic.JOURNAL, number, position, 1_000)):
                found |= {number for entry in batch if NEEDS in entry.headers}
                position = batch[-1].offset + 1
        return found

    return as_client(here, looking)


def started(here: Place) -> dict[int, str]:
    """A run in each partition."""

    async def starting(app: App) -> dict[int, str]:
        function, runs = app.functions.get("approval"), dict[int, str]()
        assert function is not None
        while len(runs) < PARTITIONS:
            handle = await app.start(function, {"n": 1})
            await handle.signal("approve", 1)
            runs.setdefault(routing.run_partition(handle.run_id, PARTITIONS), handle.run_id)
        return runs

    return as_client(here, starting)


def result(here: Place, run_id: str, timeout: float) -> Any:
    async def asking(app: App) -> Any:
        function = app.functions.get("approval")
        assert function is not None
        try:
            return await app.handle(function, run_id).result(timeout=timeout)
        except TimeoutError:
            return None

    return as_client(here, asking)


def two_libraries(here: Place, folder: Path) -> None:
    """They share the work while the level is not raised; where it is, the old one stops and says what it needs."""
    with newer_library(folder) as (newer, switch):
        try:
            _two_libraries(here, newer, switch)
        finally:
            here.close()


def _two_libraries(here: Place, newer: Zygote, switch: Path) -> None:
    start: list[Callable[[], Any]] = [
        lambda: here.start("work"),
        lambda: here.start("work", zygote=newer),
    ]
    old, new = (make() for make in start)
    old.started()
    new.started()
    for number in range(12):
        send_event(here, "crash/sequence", {"n": number}, id=f"event-{number}")
        if number == 4:
            assert old.kill() == -9, old.errors()
            old = start[0]()
        if number == 8:
            assert new.kill() == -9, new.errors()
            new = start[1]()
    wanted = ends_of([("sequence", number) for number in range(12)])
    until(lambda: verdict.read(here.folder).ends() == wanted, "both versions bring all runs to their ends")
    assert not verdict.read(here.folder).faults
    assert not raised(here)

    switch.touch()
    assert new.kill() == -9, new.errors()
    new = start[1]()
    until(lambda: raised(here), "the newer version has partitions")
    new.started()
    until(
        lambda: len(raised(here)) in (1, 2, 3), "it raises the level of its own, the old one has the others"
    )
    assert new.kill() == -9, new.errors()
    theirs = raised(here)
    until(
        lambda: (
            here.children[0].errors().count(f"Upgrade this worker to perdure {VERSION} or newer")
            >= len(theirs)
        ),
        f"the old one leaves {theirs} alone",
    )
    assert "LevelTooNew" in old.errors()
    runs = started(here)
    ours = sorted(set(range(PARTITIONS)) - theirs)
    assert [result(here, runs[number], 30.0) for number in ours] == [2] * len(ours), "the others go on"
    assert [result(here, runs[number], 0.5) for number in theirs] == [None] * len(theirs)

    new = start[1]()
    new.started()
    assert old.stop() == 0, old.errors()
    assert [result(here, run, 30.0) for run in runs.values()] == [2] * PARTITIONS, "a newer one takes them up"
    assert new.stop() == 0, new.errors()
