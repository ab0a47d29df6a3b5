"""The files of infra/ keep their promises, as far as that shows without running them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from perdure.testing.kafka import IMAGE
from tests.house.sources import ROOT

INFRA = ROOT / "infra"
COMPOSE = [INFRA / "compose.yaml", INFRA / "compose.three.yaml"]
SCRIPTS = sorted(INFRA.glob("*.sh"))

each_compose = pytest.mark.parametrize("file", COMPOSE, ids=lambda file: file.name)


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    written = [str(part) for part in command]
    return subprocess.run(written, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


@each_compose
def test_ports_are_published_on_loopback_only(file: Path) -> None:
    text = file.read_text()
    blocks = re.findall(r"^ +ports:\n((?: +- .*\n)+)", text, re.MULTILINE)
    assert len(blocks) == text.count("ports:")
    published = [line.strip() for block in blocks for line in block.splitlines()]
    assert published
    assert [line for line in published if not re.fullmatch(r'- "127\.0\.0\.1:\d+:\d+"', line)] == []


@each_compose
def test_images_have_a_version(file: Path) -> None:
    images = re.findall(r"^ +image: (.*)$", file.read_text(), re.MULTILINE)
    assert images
    assert [image for image in images if not re.search(r":\$\{\w+:-\d+\.\d+\.\d+\}$", image)] == []


def test_every_place_names_the_same_kafka() -> None:
    script = re.search(r"^version=\$\{KAFKA_VERSION:-(.*)\}$", (INFRA / "kafka.sh").read_text(), re.MULTILINE)
    assert script is not None
    composed = {v for f in COMPOSE for v in re.findall(r"KAFKA_VERSION:-([\d.]+)", f.read_text())}
    assert composed == {script[1]}
    assert IMAGE.partition(":")[2] == script[1]


def test_the_worker_image_is_given_all_that_it_is_built_from() -> None:
    given = (INFRA / "Dockerfile.dockerignore").read_text().splitlines()
    assert [name for line in given if line[0] == "!" and not (ROOT / (name := line[1:])).exists()] == []
    built = re.findall(
        r"[\w/.]+", (ROOT / "pyproject.toml").read_text().split("only-include")[1].splitlines()[0]
    )
    assert {f"!{path.split('/')[0]}" for path in built} <= set(given)
    assert (ROOT / "examples" / "onboarding.py").exists()  # what compose.yaml runs


@pytest.mark.docker
@pytest.mark.parametrize("files", [COMPOSE[:1], COMPOSE], ids=["one", "three"])
def test_compose_takes_the_files(files: list[Path]) -> None:
    if shutil.which("docker") is None or run("docker", "compose", "version").returncode:
        pytest.skip("docker compose is not here")
    done = run("docker", "compose", *(part for file in files for part in ("-f", file)), "config", "--quiet")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_shellcheck_finds_nothing(script: Path) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not here")
    done = run("shellcheck", "--external-sources", script)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "kafka.sh start"),
        (["begin"], "kafka.sh start"),
        (["start", "2"], "NODES is 1 or 3, not '2'"),
        (["start", "1", "http"], "PORT is a number or auto, not 'http'"),
        (["start", "1", "80"], "PORT must be from 1024 to 65000, not 80"),
        (["stop", "auto"], "auto is for start"),
        (["kill"], "kill which NODE?"),
        (["kill", "4"], "NODE is 1, 2 or 3, not '4'"),
    ],
)
def test_a_wrong_call_is_told_what_is_wrong(arguments: list[str], said: str) -> None:
    done = run(INFRA / "kafka.sh", *arguments)
    assert done.returncode == 2
    assert said in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "docker.sh up"),
        (["start"], 2, "docker.sh up"),
        (["run", "ls"], 1, "no engine of"),
    ],
)
def test_a_wrong_call_of_the_engine_is_told_what_is_wrong(
    arguments: list[str], code: int, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_DIR", str(tmp_path))
    done = run(INFRA / "docker.sh", *arguments)
    assert done.returncode == code
    assert said in done.stdout + done.stderr


def test_a_machine_where_no_engine_can_be_had_is_told_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for tool in ("bash", "cat", "dirname", "flock", "id", "mkdir"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or pytest.fail(tool))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("DOCKER_DIR", str(tmp_path / "engine"))
    done = run(INFRA / "docker.sh", "up")
    assert (done.returncode, done.stdout) == (3, "")
    assert re.search("only root could start one|there is no apt-get", done.stderr)


def test_a_machine_without_maven_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for tool in ("bash", "dirname"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or pytest.fail(tool))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("KAFKA_DIR", str(tmp_path / "nodes"))
    done = run(INFRA / "kafka.sh", "start", "1", "12345")
    assert done.returncode == 3
    assert "needs mvn" in done.stderr


def test_a_folder_of_somebody_else_is_not_wiped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "letter").write_text("dear")
    monkeypatch.setenv("KAFKA_DIR", str(tmp_path))
    done = run(INFRA / "kafka.sh", "wipe")
    assert done.returncode == 2
    assert (tmp_path / "1" / "letter").exists()
