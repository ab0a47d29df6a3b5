"""The processes, and what the nemesis does to them."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from time import monotonic
from typing import Any

from tests.brokers import PrivateBroker
from tests.chaos.faults import Fault
from tests.chaos.workloads import CODE, clock_file, set_clock
from tests.crash.processes import Child, Place
from tests.crash.test_random_kills import PATIENT

WORKERS = 2
WORKERS_MAX = 4
LEFT_WELL = {0, 143, -signal.SIGTERM}
"""143: it was asked to leave before its start was complete; -15: before it could hear that."""
GAVE_UP = 1
SENDERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("mix", {"life": "produce", "pause_s": 0.12}),
    ("set", {"life": "send_chaos", "workload": "set", "sender": "set", "pause_s": 0.05}),
    ("register-a", {"life": "send_chaos", "workload": "register", "sender": "a", "pause_s": 0.05}),
    ("register-b", {"life": "send_chaos", "workload": "register", "sender": "b", "pause_s": 0.1}),
    ("counter", {"life": "send_chaos", "workload": "counter", "sender": "c", "pause_s": 0.1}),
    ("reader", {"life": "read_chaos", "pause_s": 0.1}),
)


@dataclass
class Later:
    """Something that mends what a fault has done."""

    due: float
    what: str
    call: Callable[[], None]


class Stage:
    """Everything that runs. `tick` is called often; `mend` brings it to rest."""

    def __init__(self, place: Place, seed: int, broker: PrivateBroker | None) -> None:
        self.place, self._seed, self._broker = place, seed, broker
        self._began = monotonic()
        self._later: list[Later] = []
        self._script = ThreadPoolExecutor(1)
        self._scripts: list[Future[None]] = []
        self._broker_well = True
        self._born: dict[int, float] = {}
        self._ill_at = 0.0
        """When the broker was away last."""
        self._hung: set[int] = set()
        self._leaving: list[Child] = []
        self._mixes = 0
        self.zombies: set[int] = set()
        """Those who were stopped for a while."""
        self.done: Counter[str] = Counter()
        self.faults: list[str] = []
        self.workers: list[Child] = []
        self.senders: dict[str, Child] = {}
        for _ in range(WORKERS):
            self._join()
        for name, _ in SENDERS:
            self._send(name)

    # ------------------------------------------------------------------ what happens

    def tell(self, what: str, **fields: Any) -> None:
        """Keeps what was done when."""
        line = {"at_s": round(monotonic() - self._began, 3), "what": what} | fields
        with (self.place.folder / "nemesis.jsonl").open("a") as out:
            out.write(json.dumps(line) + "\n")

    def perform(self, fault: Fault) -> None:
        """Lets a fault come, if there is whom it can befall."""
        if _KINDS[fault.kind](self, fault):
            self.done[fault.kind] += 1

    def tick(self) -> None:
        """Mends what is due, and looks after who has ended by himself."""
        if not self._broker_well or self._scripts:
            self._ill_at = monotonic()
        for later in [one for one in self._later if one.due <= monotonic()]:
            self._later.remove(later)
            self._mend(later)
        for worker in [one for one in self.workers if one.pid not in self._hung and one.ended()]:
            self.workers.remove(worker)
            self.done["gave up"] += 1
            self._ended(worker, "is to work on", worker.wait())
            self._join()
        for name, sender in self.senders.items():
            if name not in self._gone() and sender.ended() and (code := sender.wait()):
                self.faults.append(f"sender {name} ended with {code}\n{sender.errors()[-3_000:]}")
                self._send(name)
        self._scripts = [one for one in self._scripts if not (one.done() and one.result() is None)]

    def hindered(self) -> bool:
        """Whether nobody could wonder if nothing happened now."""
        well = [one for one in self.workers if one.pid not in self._hung]
        return not well or not self._broker_well or bool(self._scripts)

    def mend(self) -> None:
        """No more faults: everything goes on, and everyone is there."""
        while self._later:
            self._mend(self._later.pop(0))
        for script in self._scripts:
            script.result()
        self._scripts.clear()
        while len(self.workers) < WORKERS:
            self._join()
        self.tick()
        self.tell("mended", workers=len(self.workers))

    def leave(self) -> None:
        """All workers leave; who was asked to leave before has left."""
        for child in self._leaving + self.workers:
            try:
                code = child.stop() if child in self.workers else child.wait()
            except AssertionError as error:  # it does not end
                self.faults.append(str(error))
                continue
            if code not in LEFT_WELL:
                self._ended(child, "was asked to leave", code)
        self._script.shutdown()

    # ------------------------------------------------------------------ the parts

    def _mend(self, later: Later) -> None:
        self.tell(later.what)
        later.call()

    def _in(self, seconds: float, what: str, call: Callable[[], None]) -> None:
        self._later.append(Later(monotonic() + seconds, what, call))

    def _ended(self, worker: Child, what: str, code: int) -> None:
        """A worker that finds no broker ends, and whoever looks after it starts another. For no other reason."""
        excused = code == GAVE_UP and self._ill_at >= self._born[worker.pid]
        self.tell("gave up", pid=worker.pid, code=code, excused=excused)
        if not excused:
            self.faults.append(
                f"worker {worker.pid} {what}, and ended with {code}\n{worker.errors()[-3_000:]}"
            )

    def _join(self, **options: Any) -> None:
        worker = self.place.start("work_chaos", code=CODE, limits=PATIENT, **options)
        self.workers.append(worker)
        self._born[worker.pid] = monotonic()
        self.tell("joined", pid=worker.pid, **options)

    def _replace(self) -> None:
        if len(self.workers) < WORKERS_MAX:
            self._join()

    def _send(self, name: str) -> None:
        options = dict(dict(SENDERS)[name])
        life = options.pop("life")
        if life == "produce":  # its numbers are its own: another life begins with others
            options["first"] = 1_000_000 * self._mixes
            self._mixes += 1
        self.senders[name] = self.place.start(life, seed=self._seed + self._mixes, code=CODE, **options)

    def _gone(self) -> set[str]:
        """Senders that were killed, and are not back yet."""
        return {one.what.removeprefix("back: ") for one in self._later if one.what.startswith("back: ")}

    def _well(self, fault: Fault) -> Child | None:
        """A worker that is not stopped."""
        well = [one for one in self.workers if one.pid not in self._hung and not one.ended()]
        return well[int(fault.pick * len(well))] if well else None

    def _sender(self, fault: Fault) -> str | None:
        # What the mix of the crash tests has begun and not sent is known to that life alone: it is not killed.
        names = [
            n for n, one in self.senders.items() if n != "mix" and not one.ended() and n not in self._gone()
        ]
        return names[int(fault.pick * len(names))] if names else None

    def kill_worker(self, fault: Fault) -> bool:
        worker = self._well(fault)
        if worker is None:
            return False
        self.workers.remove(worker)
        self.tell("kill worker", pid=worker.pid, code=worker.kill())
        self._in(fault.lasts_s, "in place of the killed one", self._replace)
        return True

    def kill_all(self, fault: Fault) -> bool:
        victims, self.workers = self.workers, []
        self._hung.clear()
        self._later = [one for one in self._later if one.what != "worker goes on"]
        for worker in victims:
            self.tell("kill all workers", pid=worker.pid, code=worker.kill())
            self._in(fault.lasts_s, "in place of the killed ones", self._replace)
        return bool(victims)

    def hang_worker(self, fault: Fault) -> bool:
        worker = self._well(fault)
        if worker is None:
            return False
        worker.signal(signal.SIGSTOP)
        self._hung.add(worker.pid)
        self.zombies.add(worker.pid)
        self.tell("hang worker", pid=worker.pid, lasts_s=fault.lasts_s)

        def go_on() -> None:
            worker.signal(signal.SIGCONT)
            self._hung.discard(worker.pid)

        self._in(fault.lasts_s, "worker goes on", go_on)
        return True

    def leave_one(self, fault: Fault) -> bool:
        worker = self._well(fault)
        if worker is None:
            return False
        self.workers.remove(worker)
        worker.signal(signal.SIGTERM)
        self._leaving.append(worker)
        self.tell("leave", pid=worker.pid)
        self._in(fault.lasts_s, "in place of the one that left", self._replace)
        return True

    def join(self, fault: Fault) -> bool:
        if len(self.workers) >= WORKERS_MAX:
            return False
        self._join(**({"disk_s": fault.amount} if fault.kind == "slow disk" else {}))
        return True

    def kill_sender(self, fault: Fault) -> bool:
        name = self._sender(fault)
        if name is None:
            return False
        self.tell("kill sender", name=name, code=self.senders[name].kill())
        self._in(fault.lasts_s, f"back: {name}", lambda: self._send(name))
        return True

    def hang_sender(self, fault: Fault) -> bool:
        name = self._sender(fault)
        if name is None:
            return False
        sender = self.senders[name]
        sender.signal(signal.SIGSTOP)
        self.tell("hang sender", name=name, lasts_s=fault.lasts_s)

        def go_on() -> None:
            if not sender.ended():
                sender.signal(signal.SIGCONT)

        self._in(fault.lasts_s, "sender goes on", go_on)
        return True

    def set_clock(self, fault: Fault) -> bool:
        worker = self._well(fault)
        if worker is None or not clock_file(self.place.folder, worker.pid).exists():
            return False
        self._clock(worker, fault.amount)
        self._in(fault.lasts_s, "clock is right", lambda: self._clock(worker, 0.0))
        return True

    def _clock(self, worker: Child, ahead_s: float) -> None:
        if worker.ended():
            return
        set_clock(self.place.folder, worker.pid, ahead_s)
        self.tell("clock", pid=worker.pid, ahead_s=ahead_s)

    def kill_broker(self, fault: Fault) -> bool:
        return self._break_broker("kill broker", fault, "kill", "start")

    def hang_broker(self, fault: Fault) -> bool:
        return self._break_broker("hang broker", fault, "pause", "resume")

    def _break_broker(self, what: str, fault: Fault, harm: str, heal: str) -> bool:
        broker = self._broker
        if broker is None or not self._broker_well or self._scripts:
            return False
        self._broker_well = False
        self.tell(what, lasts_s=fault.lasts_s)
        self._scripts.append(self._script.submit(getattr(broker, harm)))

        def mended() -> None:
            self._broker_well = True
            self._scripts.append(self._script.submit(getattr(broker, heal)))

        self._in(fault.lasts_s, f"{heal} broker", mended)
        return True


_KINDS: dict[str, Callable[[Stage, Fault], bool]] = {
    "kill worker": Stage.kill_worker,
    "kill all workers": Stage.kill_all,
    "hang worker": Stage.hang_worker,
    "leave": Stage.leave_one,
    "join": Stage.join,
    "kill sender": Stage.kill_sender,
    "hang sender": Stage.hang_sender,
    "clock": Stage.set_clock,
    "slow disk": Stage.join,
    "kill broker": Stage.kill_broker,
    "hang broker": Stage.hang_broker,
}
