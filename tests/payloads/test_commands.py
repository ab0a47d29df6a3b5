"""What commands show of payloads, with the keys and without."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from io import StringIO
from pathlib import Path

import pytest
from typer.testing import CliRunner

from perdure import App, Context, NonRetriableError, RunFailed
from perdure.cli.printing import Printer
from perdure.cli.root import app as commands
from perdure.cli.serving import Serving, serving
from perdure.core.limits import Limits

KEYS = f"k1:{b64encode(bytes(range(32))).decode()}"
SECRET = "s3cret"


def say(word: str) -> str:
    return f"{word} was said"


def large() -> str:
    return SECRET * 10_000


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A log of encrypted runs, as another process finds it."""
    url = f"sqlite:///{tmp_path}/log.db"
    monkeypatch.setenv("PERDURE_PAYLOAD_KEYS", KEYS)
    app = App("shop", log=url, limits=Limits(payload_bytes_max=10_000))

    @app.function(on="word")
    async def talk(ctx: Context) -> str:
        said = await ctx.step.run("say", say, ctx.event.data["word"])
        await ctx.step.run("large", large)
        signal = await ctx.step.wait_for_signal("go", "go")
        assert signal is not None
        if signal.data == "fail":
            raise NonRetriableError(f"{SECRET} of an error")
        return f"{said}, {signal.data}"

    async def fill() -> None:
        async with app.worker():
            waiting = await app.start(talk, {"word": SECRET}, id="open")
            for word in ("good", "fail"):
                run = await app.start(talk, {"word": SECRET}, id=word)
                await run.signal("go", word)
                if word == "good":
                    await run.result(timeout=30)
                else:
                    with pytest.raises(RunFailed, match=SECRET):
                        await run.result(timeout=30)
            await app.send("word", {"word": SECRET}, id="sent")
            async with asyncio.timeout(30):
                while await waiting.status() != "running":
                    await asyncio.sleep(0.01)
        await app.close()

    asyncio.run(fill())
    return url


def shown(*args: str) -> str:
    done = CliRunner().invoke(commands, args)
    assert done.exit_code == 0, done.output
    return done.output


def everything(log: str) -> str:
    runs = [("runs", "list"), ("events", "list")]
    runs += [
        ("runs", "show", f"talk/{name}", *more) for name in ("good", "fail") for more in ((), ("--ops",))
    ]
    runs.append(("runs", "show", "talk/good", "--at", "3"))
    return "".join(shown(*args, "--log", log, *more) for args in runs for more in ((), ("--json",)))


def test_with_the_keys_all_is_shown_but_what_lies_in_the_store(log: str) -> None:
    text = everything(log)
    assert f"{SECRET} was said, good" in text
    assert f"{SECRET} of an error" in text
    assert SECRET * 3 not in text
    view = json.loads(shown("runs", "show", "talk/good", "--json", "--log", log))
    assert view["event"]["data"] == {"word": SECRET}
    assert [step["output"] for step in view["steps"]] == [
        f"{SECRET} was said",
        "(encrypted: aesgcm k1, 60,046 bytes, in the store of payloads)",
        "good",
    ]


@pytest.mark.parametrize("keys", [None, f"k2:{b64encode(bytes(32)).decode()}"], ids=["none", "others"])
def test_without_the_keys_it_says_what_is_there(
    log: str, keys: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if keys is None:
        monkeypatch.delenv("PERDURE_PAYLOAD_KEYS")
    else:
        monkeypatch.setenv("PERDURE_PAYLOAD_KEYS", keys)
    text = everything(log)
    assert SECRET not in text
    assert "\0" not in text
    assert "perdure/1" not in text
    view = json.loads(shown("runs", "show", "talk/fail", "--json", "--log", log))
    assert view["event"]["data"].startswith("(encrypted: aesgcm k1, ")
    assert view["error"]["type"] == "perdure.errors.NonRetriableError"
    assert view["error"]["message"].startswith("(encrypted: aesgcm k1, ")
    assert view["error"]["traceback"] == ""


def test_commands_encrypt_what_they_send(log: str, tmp_path: Path) -> None:
    shown("events", "send", "word", '{"word": "typed-in"}', "--log", log)
    assert b"typed-in" not in b"".join(
        file.read_bytes() for file in tmp_path.glob("log.db*") if file.is_file()
    )
    assert '"typed-in"' in shown("events", "list", "--log", log)


@pytest.mark.parametrize(
    "args",
    [("events", "send", "word", '{"word": "typed-in"}'), ("runs", "signal", "talk/", "go", '"typed-in"')],
    ids=["events send", "runs signal"],
)
def test_commands_without_the_keys_refuse_to_send_clear_text(
    log: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...]
) -> None:
    if args[1] == "signal":
        runs = json.loads(shown("runs", "list", "--json", "--log", log))
        args = (*args[:2], next(run["id"] for run in runs if run["id"].endswith("open")), *args[3:])
    monkeypatch.delenv("PERDURE_PAYLOAD_KEYS")
    done = CliRunner().invoke(commands, (*args, "--log", log))
    assert done.exit_code == 2, done.output
    assert "PERDURE_PAYLOAD_KEYS" in str(done.output) + str(done.exception)
    assert b"typed-in" not in b"".join(
        file.read_bytes() for file in tmp_path.glob("log.db*") if file.is_file()
    )
    monkeypatch.setenv("PERDURE_PAYLOAD_KEYS", KEYS)
    shown(*args, "--log", log)


def test_dev_shows_what_is_in_it(log: str, tmp_path: Path) -> None:
    """`perdure dev` prints accepted ops: opened, since it has the app's keys."""
    out = StringIO()

    async def live() -> None:
        app = App("other", log=f"sqlite:///{tmp_path}/other.db")

        @app.function
        async def talk(ctx: Context) -> str:
            return await ctx.step.run("say", say, ctx.event.data["word"])

        printer = Printer(out)
        async with serving(app, Serving(None, 10, 1.0), printer, lambda: None):
            await (await app.start(talk, {"word": SECRET})).result(timeout=30)
        await app.close()
        printer.close()

    asyncio.run(live())
    text = out.getvalue()
    assert f"{SECRET} was said" in text
    assert "perdure/1" not in text


@pytest.mark.parametrize("keys", [True, False], ids=["with-the-keys", "without"])
def test_a_rerun_takes_over_what_is_sealed_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: bool
) -> None:
    url = f"sqlite:///{tmp_path}/log.db"
    monkeypatch.setenv("PERDURE_PAYLOAD_KEYS", KEYS)
    app = App("shop", log=url)
    said: list[str] = []
    broken = [True]

    def last(word: str) -> str:
        if broken:
            raise ValueError("not yet")
        return word

    @app.function(on="word", retries=0)
    async def talk(ctx: Context) -> str:
        said.append(ctx.event.data["word"])
        word = await ctx.step.run("say", say, ctx.event.data["word"])
        return await ctx.step.run("last", last, word)

    async def first() -> None:
        async with app.worker():
            run = await app.start(talk, {"word": SECRET}, id="first")
            with pytest.raises(RunFailed):
                await run.result(timeout=30)
        await app.close()

    async def again() -> str:
        async with app.worker():
            result = await app.handle(talk, "talk/again").result(timeout=30)
        await app.close()
        return result

    asyncio.run(first())
    broken.clear()
    with monkeypatch.context() as elsewhere:
        if not keys:
            elsewhere.delenv("PERDURE_PAYLOAD_KEYS")
        words = ["runs", "rerun", "first", "--from-step", "last", "--id", "again", "--log", url]
        done = CliRunner().invoke(commands, words)
        assert done.exit_code == 0, done.output
    assert asyncio.run(again()) == f"{SECRET} was said"
    assert set(said) == {SECRET}
    assert SECRET.encode() not in b"".join(
        file.read_bytes() for file in tmp_path.glob("log.db*") if file.is_file()
    )
