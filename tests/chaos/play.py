"""One run of the nemesis on one log: load, faults, rest, verdict."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic

from tests.brokers import PrivateBroker, private_broker
from tests.chaos import checkers, faults, history
from tests.chaos.checkers import Progress
from tests.chaos.following import Follower
from tests.chaos.stage import Stage
from tests.crash import ledger, verdict
from tests.crash.lives import ends_of
from tests.crash.processes import Place, Zygote, pause, until
from tests.crash.test_random_kills import all_accepted, known_items

PARTITIONS = 4
SESSION_S = {"sqlite": 2.0, "kafka": 4.0}
PATIENCE_S = 45.0
REST_WITHIN_S = 90.0
TICK_S = 0.05
TOLD_EVERY_S = 10.0
Say = Callable[[str], None]


@dataclass
class Report:
    """What was done, what came of it, and what was wrong."""

    log: str
    seed: int
    seconds: float
    faults_done: dict[str, int] = field(default_factory=dict[str, int])
    operations: dict[str, int] = field(default_factory=dict[str, int])
    runs: int = 0
    records: int = 0
    steps: int = 0
    steps_again: int = 0
    reads: int = 0
    voids: dict[str, int] = field(default_factory=dict[str, int])
    longest_gap_s: float = 0.0
    rest_s: float = 0.0
    """From the end of the faults to the end of the last run."""
    zombies: list[int] = field(default_factory=list[int])
    """Processes that were stopped for a while: they may begin what others have done meanwhile."""
    violations: list[str] = field(default_factory=list[str])

    def text(self) -> str:
        """For people."""
        ended = f"BROKEN: {len(self.violations)}" if self.violations else "no promise was broken"
        again = f"{self.steps_again:,} attempts executed again"
        void = _counts(self.voids) or "none"
        gap = f"longest time without a step while nothing hindered: {self.longest_gap_s:.1f} s"
        lines = [
            f"{self.log}, seed {self.seed}, {self.seconds:g} s: {ended}",
            f"  done: {_counts(self.faults_done)}",
            f"  asked for and acknowledged: {_counts(self.operations)}; {self.reads:,} reads",
            f"  {self.runs:,} runs, {self.steps:,} steps, {again}, {self.records:,} records; void: {void}",
            f"  {gap}; all was over {self.rest_s:.1f} s after the last fault was mended",
        ]
        return "\n".join([*lines, *(f"  {one}" for one in self.violations)])


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))


def play(log: str, seed: int, seconds: float, folder: Path, say: Say) -> Report:
    """Everything that there is to see of it is in the folder afterwards."""
    with ground() as place:
        report = _played(log, seed, seconds, place, say)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(place, folder)
    return report


@contextmanager
def ground() -> Generator[Path]:
    """Where the logs are meanwhile: in memory, if the machine has a file system there. What a SIGKILL leaves is the
    same on both, and on a busy disk each of some thousand fsyncs takes its time."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(
        prefix="perdure-chaos-", dir=memory if os.access(memory, os.W_OK) else None
    ) as folder:
        yield Path(folder)


def _played(log: str, seed: int, seconds: float, folder: Path, say: Say) -> Report:
    report = Report(log, seed, seconds)
    zygote = Zygote(modules=["tests.chaos.workloads"])
    try:
        with _log_in(log, folder) as broker:
            place = Place(zygote, folder, partitions=PARTITIONS, lease_s=SESSION_S[log])
            try:
                _play(report, place, broker, say)
                _judge(report, place)
            except AssertionError as error:  # a deadline has passed, or the judges have spoken
                report.violations += str(error).splitlines()[: 4 * checkers.SHOWN_MAX]
            finally:
                place.close()
            if report.violations:
                _keep(folder, broker)
    finally:
        zygote.close()
    (folder / "report.json").write_text(json.dumps(asdict(report), indent=1) + "\n")
    (folder / "report.txt").write_text(report.text() + "\n")
    return report


@contextmanager
def _log_in(log: str, folder: Path) -> Generator[PrivateBroker | None]:
    """The log of the folder: a file in it, or one on a broker that the nemesis may break."""
    if log == "sqlite":
        yield None
        return
    with private_broker() as broker:
        (folder / "kafka").write_text(f"{broker.servers}/chaos-{uuid.uuid4().hex[:12]}")
        yield broker


def _play(report: Report, place: Place, broker: PrivateBroker | None, say: Say) -> None:
    stage = Stage(place, report.seed, broker)
    plan = faults.plan(report.seed, report.log, report.seconds, SESSION_S[report.log])
    follower = Follower(place.folder, PARTITIONS)
    progress = Progress(PATIENCE_S)
    began = told = monotonic()
    try:
        while (passed := monotonic() - began) < report.seconds:
            while plan and plan[0].at_s <= passed:
                stage.perform(plan.pop(0))
            stage.tick()
            size = ledger.size(place.folder)
            if (fault := progress.look(monotonic(), size, hindered=stage.hindered())) is not None:
                stage.faults.append(f"stuck: {fault}")
                break
            if monotonic() - told > TOLD_EVERY_S:
                told = monotonic()
                ended = follower.count(lambda run: not run.live)
                say(
                    f"{report.log}: {passed:.0f} of {report.seconds:g} s, {stage.done.total()} faults,"
                    f" {follower.count():,} runs, {ended:,} over, {len(stage.workers)} workers"
                )
            pause(TICK_S)
        stage.mend()
        _rest(report, stage, follower)
    finally:
        report.longest_gap_s, report.faults_done = progress.longest_s, dict(stage.done)
        report.zombies = sorted(stage.zombies)
        report.violations += stage.faults
        follower.stop()


def _rest(report: Report, stage: Stage, follower: Follower) -> None:
    """The senders send what they have begun, every run ends, and the workers leave."""
    began, folder = monotonic(), stage.place.folder
    (folder / "enough").touch()

    def ended() -> bool:
        stage.tick()
        return all(sender.ended() for sender in stage.senders.values())

    until(ended, "the senders have sent what they began", REST_WITHIN_S)
    wanted = checkers.ends(history.read(folder)) + ends_of(known_items(folder))

    def over() -> bool:
        stage.tick()
        return follower.count() >= wanted.total() and not follower.live()

    progress = Progress(PATIENCE_S)  # what waits in line may be much; that it goes on is what counts
    while not over():
        if progress.look(monotonic(), ledger.size(folder), hindered=stage.hindered()) is not None:
            left = checkers.stuck(follower.live())
            told = (
                f"stuck: {follower.count()} of {wanted.total()} runs are there, and {len(left)} are not over"
            )
            stage.faults += [told, *left[: checkers.SHOWN_MAX]]
            break
        pause(TICK_S)
    report.rest_s = monotonic() - began
    stage.leave()


def _judge(report: Report, place: Place) -> None:
    folder = place.folder
    story, lines, past = verdict.read(folder), ledger.read(folder), history.read(folder)
    begins = [line for line in lines if line.what == "begin"]
    report.steps_again = verdict.reruns(lines)
    report.steps = len(begins) - report.steps_again
    report.runs, report.records, report.voids = len(story.runs()), len(story.records), dict(story.voids())
    report.reads = len(past.reads)
    for o in past.operations:
        report.operations[o.workload] = report.operations.get(o.workload, 0) + o.acknowledged
    report.operations["mix"] = len(ledger.accepted(folder))
    report.violations += checkers.check(past)
    if not all_accepted(folder) or not all(o.acknowledged for o in past.operations):
        report.violations.append("a sender ended, and what it began is not acknowledged")
    if "clock" in report.faults_done:
        # A worker whose clock was behind may have stamped what it recorded: by so much nobody can tell.
        story.stamp_us += int(2 * faults.CLOCK_S_MAX * 1e6)
    wanted = checkers.ends(past) + ends_of(known_items(folder))
    verdict.check(story, lines, wanted, kills=None, zombies=set(report.zombies))


def _keep(folder: Path, broker: PrivateBroker | None) -> None:
    """What only the log and the broker know, as text beside the rest."""
    with (folder / "journal.txt").open("w") as out:
        for record in verdict.read(folder).records:
            fact = record.fact
            out.write(
                f"{record.partition}/{fact.offset} {fact.ts} {fact.kind} {record.void or ''} {fact.body}\n"
            )
    if broker is not None:
        shutil.copy(Path(broker.env["KAFKA_DIR"], "1", "log"), folder / "broker.log")
