"""What README.md and docs/kafka.md say of Kafka: typed as it stands there, or held against the code."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure.logs.kafka import KafkaSettings, from_environment
from perdure.logs.kafka.topics import specs
from tests.cli.terminal import environ, screen
from tests.house.sources import ROOT
from tests.testing.test_pages import README, blocks, files

PAGE = (ROOT / "docs" / "kafka.md").read_text(encoding="utf-8")
(SECTION,) = re.findall(r"^## On Kafka\n(.*?)^## ", README, re.MULTILINE | re.DOTALL)
DEADLINE_S = 90.0


class Terminal:
    """A folder with the README's shop.py and the repository's infra/, where lines are typed.

    The broker is one of its own, on a free port in place of 9092, which may be somebody's here.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "shop.py").write_text(files(README)["shop.py"])
        (folder / "infra").symlink_to(ROOT / "infra")
        (folder / "bin").mkdir()
        perdure = folder / "bin" / "perdure"
        perdure.write_text(f'#!/bin/sh\nexec {sys.executable} -m perdure.cli "$@"\n')
        perdure.chmod(0o755)
        self.env = environ(PATH=f"{folder}/bin:{os.environ['PATH']}", KAFKA_DIR=str(folder / "nodes"))
        self.port = ""

    def type(self, line: str) -> str:
        """Runs a line in a shell; what it prints."""
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE_S,
        )
        assert (done.returncode, done.stderr) == (0, ""), f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout

    def start(self, line: str) -> None:
        self.port = self.type(f"{line} 1 auto").strip().rpartition(":")[2]

    def set(self, line: str) -> None:
        name, _, value = shlex.split(line.removeprefix("export "), comments=True)[0].partition("=")
        self.env[name] = value.replace("9092", self.port)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    made = Terminal(tmp_path)
    yield made
    made.type("infra/kafka.sh wipe")


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_commands_of_readme_do_what_they_say(terminal: Terminal) -> None:
    begin, use = (block.splitlines() for block in blocks(SECTION, "sh"))
    docker, script = (line.partition("#")[0].strip() for line in begin)
    assert docker == "docker compose -f infra/compose.yaml up --detach kafka jaeger"  # tests/infra has it
    export, worker, send, runs, doctor, wipe = use

    terminal.start(script)
    assert terminal.type(script) == f"127.0.0.1:{terminal.port}\n"  # as it stands: it runs already
    terminal.set(export)
    assert terminal.port in terminal.env["PERDURE_LOG"]
    words = shlex.split(worker, comments=True)
    assert words[0] == "perdure"
    with screen(
        terminal.folder, *words[1:], "--verbose", env={"PERDURE_LOG": terminal.env["PERDURE_LOG"]}
    ) as shown:
        shown.until(r"ready: leads all 8 partitions")
        assert terminal.type(send).startswith("sent user/created as ")
        shown.until(r"create-account +done")
        shown.until(r"trial")
        assert re.search(r"onboard +running .* trial: sleeps until ", terminal.type(runs))
        assert re.search(r"^ok +every rule holds", terminal.type(doctor), re.MULTILINE)
        shown.send(signal.SIGTERM)
        assert shown.exit_code() == 0, shown.text
    terminal.type(wipe)
    assert not Path(terminal.env["KAFKA_DIR"]).exists()


def test_the_topics_of_the_page_are_those_that_are_made() -> None:
    rows = re.findall(r"^\| `(shop\..*?)` \| (\S+) \| (\w+) \| ?(\S*) ?\|", PAGE, re.MULTILINE)
    made = specs(KafkaSettings("host:9092", "shop", "orders"), (7,), replication=3)
    assert {(name, count.replace("N", "7"), policy, kept) for name, count, policy, kept in rows} == {
        (s.name, str(s.partitions), s.config["cleanup.policy"], s.config.get("retention.ms", ""))
        for s in made
    }
    for setting in re.findall(r"`([a-z.]+=[\w]+)`", PAGE):
        name, _, value = setting.partition("=")
        assert {spec.config[name] for spec in made} == {value}, setting


def test_the_settings_of_the_page_are_taken() -> None:
    exported = re.findall(r"^export (PERDURE_KAFKA_\w+)=(\S+)$", PAGE, re.MULTILINE)
    found = from_environment(dict(exported))
    assert len(found) > 8
    assert found["sasl.oauthbearer.token.endpoint.url"] == "https://login.example.com/token"
