"""The nemesis, briefly, on each log; and what a seed means."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.chaos import __main__ as chaos
from tests.chaos import play
from tests.chaos.faults import KINDS, plan
from tests.chaos.play import Report
from tests.chaos.stage import WORKERS, Stage
from tests.crash.processes import Place, Zygote, until

SEED = 7
MINUTES = 8 / 60


def test_a_seed_is_a_plan() -> None:
    for log, kinds in KINDS.items():
        assert plan(3, log, 120, 2.0) == plan(3, log, 120, 2.0)
        assert plan(3, log, 120, 2.0) != plan(4, log, 120, 2.0)
        for seed in range(20):
            found = plan(seed, log, 120, 2.0)
            assert {fault.kind for fault in found} == set(kinds), "each kind comes"
            assert all(0 < fault.at_s < 120 and 0 <= fault.lasts_s <= 6 for fault in found)
            assert [fault.at_s for fault in found] == sorted(fault.at_s for fault in found)


def test_a_worker_that_ends_by_itself_is_found(tmp_path: Path) -> None:
    zygote = Zygote(modules=["tests.chaos.workloads"])
    place = Place(zygote, tmp_path, partitions=2)
    try:
        stage = Stage(place, SEED, None)
        worker = stage.workers[0]
        worker.signal(signal.SIGKILL)
        until(worker.ended, "it has ended")
        stage.tick()
        (fault,) = stage.faults
        assert f"worker {worker.pid} is to work on, and ended with -9" in fault
        assert len(stage.workers) == WORKERS, "there is another"
        sender = stage.senders["set"]
        sender.signal(signal.SIGKILL)
        until(sender.ended, "it has ended")
        stage.tick()
        assert "sender set ended with -9" in stage.faults[1]
    finally:
        place.close()
        zygote.close()


def play_briefly(log: str, folder: Path) -> Report:
    """As on the command line; what was played is what the report says."""
    words = ["--minutes", str(MINUTES), "--seed", str(SEED), "--log", log, "--folder", str(folder)]
    code = chaos.main(words)
    assert code == 0, (folder / f"{log}-{SEED}" / "report.txt").read_text()
    assert not (folder / f"{log}-{SEED}").exists(), "of what went well only the report stays"
    return Report(**json.loads((folder / f"{log}-{SEED}.json").read_text()))


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_on_a_file(tmp_path: Path) -> None:
    report = play_briefly("sqlite", tmp_path)
    assert sum(report.faults_done.values()) >= 3
    assert min(report.operations[kind] for kind in ("set", "register", "counter", "mix")) > 2
    assert report.runs > 20


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_on_kafka(tmp_path: Path) -> None:
    report = play_briefly("kafka", tmp_path)
    assert sum(report.faults_done.values()) >= 2
    assert min(report.operations[kind] for kind in ("set", "register", "counter", "mix")) > 0


def test_what_is_broken_is_told_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A ledger that loses what it was given: the exit code, the report and the folder say so."""

    def loses(folder: Path) -> play.history.History:
        past = read(folder)
        return play.history.History(past.operations, past.effects[1:], past.reads)

    read = play.history.read
    monkeypatch.setattr(play.history, "read", loses)
    words = ["--minutes", "0.02", "--seed", "5", "--log", "sqlite", "--folder", str(tmp_path)]
    assert chaos.main(words) == chaos.BROKEN
    folder = tmp_path / "sqlite-5"
    assert "lost write" in json.loads((folder / "report.json").read_text())["violations"][0]
    assert "make chaos LOG=sqlite SEED=5" in capsys.readouterr().out
    kept = {file.name for file in folder.iterdir()}
    assert {"log.db", "ledger", "outside", "operations", "nemesis.jsonl", "journal.txt", "report.txt"} <= kept
