"""Very many sleeping runs: what they take, how fast they come, and how late they wake. `make bench-size`.

README.md says what each figure is.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep, time
from typing import Any

from broker import broker
from machine import Others, described, remark
from sleepers import EVENT, make_app
from table import columns, number

HERE = Path(__file__).resolve().parent
LATEST = HERE / "results" / "size.json"
BATCH = 500
FAR = 30 * 86_400
IDLE_S = 20.0
REST_S = 180.0
FIGURES = (
    ("resident_mb", "resident memory", "MB", "<= 250"),
    ("resident_again_mb", "the same, after kill -9", "MB", "<= 250"),
    ("peak_mb", "most that was resident", "MB", ""),
    ("idle_cpu", "processor, idle", "%", "<= 1"),
    ("fill_per_s", "fill", "runs/s", ">= 5000"),
    ("fill_cpu_us", "the worker's processor time for each", "µs", ""),
    ("ready_s", "ready after kill -9", "s", "<= 15"),
    ("late_record_p50_ms", "burst: firing recorded, p50", "ms", ""),
    ("late_record_p99_ms", "burst: firing recorded, p99", "ms", "<= 250"),
    ("late_line_p50_ms", "burst: next line of code, p50", "ms", ""),
    ("late_line_p99_ms", "burst: next line of code, p99", "ms", ""),
    ("log_mb", "log on the disk", "MB", ""),
)


@dataclass
class Worker:
    """A process that is killed."""

    url: str
    process: subprocess.Popen[str] = field(init=False)
    ready_s: float = 0.0
    told: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        began = monotonic()
        words = [sys.executable, str(HERE / "sleepers.py"), self.url]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.told = self._line()
        self.ready_s = monotonic() - began

    def _line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            sys.exit("the worker has ended")
        return json.loads(line)

    def ask(self) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.told = self._line()
        return self.told

    def memory(self, name: str = "VmRSS") -> float:
        """In MB."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) / 1024
        return 0.0

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rest(self) -> None:
        """Waits until nothing is left to do: a last snapshot comes a while after a fill."""
        deadline = monotonic() + REST_S
        while not self.ask()["at_rest"]:
            if monotonic() > deadline:
                sys.exit("the worker does not come to rest")
            sleep(1.0)

    def idle(self, seconds: float) -> float:
        """How much of a processor it takes, in percent."""
        before = self.cpu()
        sleep(seconds)
        return (self.cpu() - before) / seconds * 100

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


async def _send(url: str, count: int, until: float) -> None:
    app = make_app(url)
    try:
        left = count
        while left > 0:
            lanes = [min(BATCH, left - at) for at in range(0, min(left, 4 * BATCH), BATCH)]
            events = [[{"name": EVENT, "data": {"until": until}}] * size for size in lanes]
            await asyncio.gather(*(app.send(batch) for batch in events))
            left -= sum(lanes)
    finally:
        await app.close()


def fill(url: str, worker: Worker, count: int, until: float) -> float:
    """Runs per second, from the first event to the last accepted record of a run that sleeps."""
    target = worker.ask()["asleep"] + count
    began = monotonic()
    sender = subprocess.Popen([sys.executable, str(HERE / "size.py"), "--send", url, str(count), str(until)])
    try:
        while worker.ask()["asleep"] < target:
            if sender.poll():
                sys.exit("the sender has failed")
            sleep(0.05 if count < 100_000 else 0.5)
    finally:
        if sender.poll() is None:
            sender.kill()
        sender.wait()
    return count / (monotonic() - began)


def percentile(values: list[float], percent: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * percent / 100))]


def burst(worker: Worker, count: int, due: float) -> dict[str, float]:
    """How late timers are that are due at one moment, in ms."""
    sleep(max(due - time(), 0))
    deadline = monotonic() + 120
    while min(len(worker.told["woken"]), len(worker.told["fired"])) < count and monotonic() < deadline:
        sleep(1.0)
        worker.ask()
    found: dict[str, float] = {}
    for name, of in (("record", "fired"), ("line", "woken")):
        late = [at / 1_000 - due * 1_000 for at in worker.told[of]]
        if len(late) < count:
            print(f"only {len(late)} of {count} {of}", file=sys.stderr)
        for percent in (50, 99):
            found[f"late_{name}_p{percent}_ms"] = percentile(late, percent) if late else float("inf")
    return found


def measure(url: str, runs: int, due: int, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    worker = Worker(url)
    try:
        cpu = worker.cpu()
        found["fill_per_s"] = fill(url, worker, runs - 2 * due, time() + FAR)
        found["fill_cpu_us"] = (worker.cpu() - cpu) / (runs - 2 * due) * 1e6
        found["resident_mb"] = worker.memory()
        worker.rest()
        found["idle_cpu"] = worker.idle(IDLE_S)
        when = float(int(time() + 90 + runs / 20_000))
        fill(url, worker, due, when)
        fill(url, worker, due, time() + FAR)  # so that those are not the youngest
        found["resident_mb"] = max(found["resident_mb"], worker.memory())
        found["peak_mb"] = worker.memory("VmHWM")
        known = worker.ask()
        worker.kill()
        worker = Worker(url)
        found["ready_s"] = worker.ready_s
        assert worker.told["runs"] == known["runs"] == runs, (worker.told["runs"], known["runs"], runs)
        sleep(2)
        worker.ask()
        found["resident_again_mb"] = worker.memory()
        found["packed"] = worker.told["packed"]
        found["log_mb"] = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
        if time() > when:
            print("the burst was due before the worker was back", file=sys.stderr)
        found |= burst(worker, due, when)
        found["peak_mb"] = max(found["peak_mb"], worker.memory("VmHWM"))
    finally:
        with suppress(ProcessLookupError):
            worker.kill()
    return found


@contextmanager
def place(args: argparse.Namespace, folder: Path) -> Generator[str]:
    if args.log == "sqlite":
        yield f"sqlite:///{folder}/log.db?synchronous=full"
        return
    with broker(args.kafka or "", folder) as servers:
        yield f"kafka://{servers}/size-{uuid.uuid4().hex[:8]}?create=8"


def printed(result: dict[str, Any]) -> str:
    rows = [("", "measured", "", "budget")]
    for name, label, unit, budget in FIGURES:
        value = result["figures"].get(name)
        if value is None:
            continue
        verdict = f"{budget} {'ok' if _held(value, budget) else 'MISSED'}" if budget else ""
        rows.append((label, number(value), unit, verdict))
    machine = result["machine"]
    head = [
        f"{machine['cpu']}, {machine['cores']} cores, {machine['file_system']}; Python {machine['python']}",
        f"commit {machine['commit']}{' with changes' if machine['changed'] else ''}, {machine['date']}",
        f"{result['runs']:,} sleeping runs, {result['burst']:,} of them due at one moment; log {result['log']}",
        f"others used {result['others']:.2f} cores",
    ]
    return "\n".join(head) + "\n\n" + columns(rows)


def _held(value: float, budget: str) -> bool:
    sign, bound = budget.split()
    return value <= float(bound) if sign == "<=" else value >= float(bound)


def as_markdown(kept: dict[str, Any]) -> str:
    """For docs/performance.md."""
    machine, found = kept["machine"], kept["figures"]
    when = machine["date"][:16].replace("T", " ")
    head = (
        f"{kept['runs']:,} sleeping runs, {kept['burst']:,} of them due at one moment; one run, {when} UTC, commit"
        f" `{machine['commit']}`; {machine['cpu']}, {machine['cores']} cores, {machine['file_system']}; others used"
        f" {kept['others']:.2f} of them{remark([kept['others']])}."
    )
    lines = [
        head,
        "",
        "| | budget | perdure |",
        "|---|---|---|",
    ]
    for name, label, unit, budget in FIGURES:
        if name in found:
            missed = " **missed**" if budget and not _held(found[name], budget) else ""
            shown = budget.replace("<=", "≤").replace(">=", "≥")
            lines.append(f"| {label}, {unit} | {shown} | {number(found[name])}{missed} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200_000)
    parser.add_argument("--burst", type=int, default=10_000, help="timers that are due at one moment")
    parser.add_argument("--log", choices=("sqlite", "kafka"), default="sqlite")
    parser.add_argument("--kafka", metavar="HOST:PORT", help="a broker that runs already")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where the log lies")
    parser.add_argument("--out", type=Path, default=LATEST)
    parser.add_argument("--keep", action="store_true", help="into figures/, for docs/performance.md")
    parser.add_argument("--send", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.send:
        url, count, until = args.send
        asyncio.run(_send(url, int(count), float(until)))
        return
    others = Others()
    with tempfile.TemporaryDirectory(prefix="perdure-bench-size-", dir=args.folder) as name:
        folder = Path(name)
        with place(args, folder) as url:
            figures = measure(url, args.runs, args.burst, folder)
        result = {"machine": described(folder), "runs": args.runs, "burst": args.burst, "log": args.log}
    result |= {"others": others.cores(), "figures": figures}
    if args.keep:
        args.out = HERE / "figures" / ("size.json" if args.log == "sqlite" else "size_kafka.json")
    args.out.parent.mkdir(exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(printed(result))


if __name__ == "__main__":
    main()
