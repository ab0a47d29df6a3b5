"""examples/patterns/: each says what to type, has a scene, and comes to the same end whenever its worker dies."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest

from examples.scenes import OF_THE_MOMENT, SCENES, approval, fan_in, main, reindex, saga
from perdure import Event, RunFailed
from perdure.authoring.events import event_name
from perdure.testing import Environment, crash_everywhere, environment

ROOT = Path(__file__).parents[2]
EVERY = sorted(file.stem for file in (ROOT / "examples" / "patterns").glob("*.py"))


@pytest.fixture(autouse=True)
def folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the outages are: `touch bank-is-down`."""
    monkeypatch.chdir(tmp_path)


# --- all of them ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.asyncio
@pytest.mark.parametrize("name", sorted(SCENES.keys() - OF_THE_MOMENT))
async def test_a_worker_that_dies_at_any_of_its_writes_changes_nothing(name: str) -> None:
    module, scene = SCENES[name]
    report = await crash_everywhere(module.app, scene)
    assert report.records > 10
    assert (
        report.crashes >= 2 * report.records - 3
    )  # a life whose messages share entries may have one record less


def commands(name: str) -> list[list[str]]:
    """What its docstring tells to type: `perdure ...`, word by word."""
    lines = [line.strip() for line in (SCENES[name][0].__doc__ or "").splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith("perdure ")]


def classes(module: ModuleType) -> list[type[Event]]:
    found = [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, Event)]
    return [kind for kind in found if kind.__module__ == module.__name__]


@pytest.mark.asyncio
@pytest.mark.parametrize("name", EVERY)
async def test_what_its_docstring_tells_to_type_starts_it(name: str) -> None:
    dev, *others = commands(name)
    assert dev == ["perdure", "dev", f"examples/patterns/{name}.py:app"]
    async with environment(SCENES[name][0].app) as env:
        for command in others:
            if command[:3] == ["perdure", "events", "send"]:
                known = {event_name(kind): kind for kind in classes(SCENES[name][0])}
                await env.send(known[command[3]].model_validate_json(command[4], extra="forbid"))
                assert env.runs()
        await env.advance("2m")
        assert env.runs()


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERDURE_LOG", f"sqlite:///{tmp_path}/log.db")


@pytest.mark.asyncio
async def test_a_saga_on_a_file_in_real_time(file: None) -> None:
    async with saga.app.worker():
        trip = await saga.app.start(saga.book_trip, saga.TripRequested(trip="t2", city="Atlantis"))
        with pytest.raises(RunFailed, match="there is no hotel in Atlantis"):
            await trip.result(timeout="30s")
    await saga.app.close()


@pytest.mark.asyncio
async def test_a_fan_in_on_a_file_in_real_time(file: None) -> None:
    async with fan_in.app.worker():
        job = await fan_in.app.start(fan_in.count_all, fan_in.Begun(job="j", texts=["one two", "three"]))
        assert await job.result(timeout="30s") == 3
    await fan_in.app.close()


@pytest.mark.asyncio
async def test_an_approval_on_a_file_in_real_time(file: None) -> None:
    async with approval.app.worker():
        run = await approval.app.start(approval.approve, approval.ExpenseFiled(by="ada", cents=9))
        assert await run.request("decide", {"by": "bob", "approved": True}, timeout="30s") == "recorded"
        assert await run.result(timeout="30s") == approval.Decision(by="bob", approved=True)
    await approval.app.close()


@pytest.mark.parametrize("name", EVERY)
def test_it_has_a_scene_and_a_paragraph_and_is_short(name: str) -> None:
    module, scene = SCENES[name]
    assert scene.__name__ == f"play_{name}"
    page = (ROOT / "docs" / "patterns.md").read_text(encoding="utf-8")
    assert f"(../examples/patterns/{name}.py)" in page
    assert f"`make demo ARGS={name}`" in page
    assert "Not " in (module.__doc__ or ""), "it says when not to use it"
    code = Path(module.__file__ or "").read_text(encoding="utf-8").split('"""', 2)[2]
    assert len([line for line in code.splitlines() if line.strip()]) <= 55


def test_the_demo_plays_a_scene_and_proves_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main("reindex") == 0
    told = capsys.readouterr().out
    assert '✓ update-index: "d1 is searchable in revision 3"' in told
    assert "index 1: skipped  a later event took its place" in told
    assert re.search(r"✓ the worker was killed \d\d times", told)
    assert list(Path().iterdir()) == []


def test_the_demo_fails_when_a_life_ends_otherwise(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lives: list[int] = []

    async def another_each_time(env: Environment) -> None:
        lives.append(1)
        await env.send(reindex.Edited(document="d1", revision=len(lives)))
        await env.advance("1m")

    monkeypatch.setitem(SCENES, "reindex", (reindex, another_each_time))
    assert main("reindex") == 1
    assert "✗ killed before record 1 of" in capsys.readouterr().out


def test_the_demo_names_the_patterns_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main("sago") == 2
    assert "there are: saga, circuit_breaker, dead_letter" in capsys.readouterr().out
