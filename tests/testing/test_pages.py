"""README.md and docs/testing.md: what they show is written down as it stands there, and run."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from perdure.testing import environment
from perdure.testing.kafka import SERVERS_VARIABLE
from tests.brokers import broker
from tests.house.sources import ROOT

pytest_plugins = ["pytester"]

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")


def blocks(text: str, *kinds: str) -> list[str]:
    return [
        body
        for kind, body in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        if kind in kinds
    ]


def files(text: str) -> dict[str, str]:
    """The blocks that begin with the name of a file."""
    found: dict[str, str] = {}
    for block in blocks(text, "python", "toml"):
        named = re.match(r"# ([\w.]+)\n", block)
        assert named, f"a block that names no file is run by nobody:\n{block}"
        assert named[1] not in found, f"two blocks are {named[1]}"
        found[named[1]] = block
    return found


def run(pytester: pytest.Pytester, written: dict[str, str]) -> None:
    """Writes the files and runs all tests in them."""
    for name, text in written.items():
        pytester.path.joinpath(name).write_text(text, encoding="utf-8")
    tests = sum(len(re.findall(r"^(?:async )?def test_", text, re.MULTILINE)) for text in written.values())
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-q")
    result.assert_outcomes(passed=tests)


def test_readme_runs_as_it_stands(pytester: pytest.Pytester) -> None:
    written = files(README)
    assert list(written) == ["shop.py", "test_shop.py"]
    run(pytester, written)


def test_the_page_on_testing_runs_as_it_stands(pytester: pytest.Pytester) -> None:
    written = files(PAGE)
    assert len(written) > 5
    del written["test_kafka.py"]  # the next test's
    run(pytester, {"shop.py": files(README)["shop.py"], **written})


@pytest.mark.kafka
@pytest.mark.timeout(240)
def test_what_the_page_on_testing_shows_of_kafka_runs_as_it_stands(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SERVERS_VARIABLE, broker().servers)
    written = files(PAGE)
    run(pytester, {name: written[name] for name in ("pyproject.toml", "test_kafka.py")})


@pytest.mark.asyncio
async def test_the_event_of_readme_goes_through_its_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = "\n".join(blocks(README, "sh"))
    (sent,) = set(re.findall(r"^perdure events send (\S+) '(.*?)'", typed, re.MULTILINE))
    shop = loaded(tmp_path / "shop.py", files(README)["shop.py"], monkeypatch)
    async with environment(shop.app) as env:
        (run,) = await env.send(sent[0], json.loads(sent[1]))
        await env.advance("10d")
        assert (run.status, run.result) == ("completed", "account of a@b.c")
        assert [step.id for step in run.steps] == ["create-account", "trial", "payment", "remind"]
    assert capsys.readouterr().out == "a@b.c: the trial of the account of a@b.c is over\n"


def loaded(path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("shop", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "shop", module)
    spec.loader.exec_module(module)
    return module
