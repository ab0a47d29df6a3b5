"""The schema registry of `infra/registry.sh` registers, hands out, and refuses what would not be compatible."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.house.sources import ROOT

pytestmark = pytest.mark.slow

SCRIPT = str(ROOT / "infra" / "registry.sh")
MISSING = 3


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    env = os.environ | {"REGISTRY_DIR": str(tmp_path_factory.mktemp("registry"))}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([SCRIPT, *arguments], env=env, capture_output=True, text=True, check=False)

    started = run("start", "auto")
    if started.returncode == MISSING:
        pytest.skip(started.stderr.strip())
    try:
        assert started.returncode == 0, started.stderr
        assert run("start").stdout == started.stdout  # it is found again
        yield started.stdout.strip()
    finally:
        run("stop")
    assert not Path(env["REGISTRY_DIR"]).exists()


def ask(url: str, body: object = None, method: str | None = None) -> Any:
    content = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/vnd.schemaregistry.v1+json"}
    request = urllib.request.Request(url, content, headers, method=method)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


def record(*fields: dict[str, object]) -> dict[str, str]:
    return {"schema": json.dumps({"type": "record", "name": "Order", "fields": fields})}


def test_a_schema_goes_in_and_out(registry: str) -> None:
    number: dict[str, object] = {"name": "number", "type": "long"}
    wanted = record(number)
    given = ask(f"{registry}/subjects/orders-value/versions", wanted)
    assert json.loads(ask(f"{registry}/schemas/ids/{given['id']}")["schema"]) == json.loads(wanted["schema"])
    ask(f"{registry}/config/orders-value", {"compatibility": "BACKWARD"}, "PUT")
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(f"{registry}/subjects/orders-value/versions", record(number, {"name": "more", "type": "long"}))
    refused.value.close()
    assert refused.value.code == 409
