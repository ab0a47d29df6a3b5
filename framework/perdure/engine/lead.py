"""The leader of a partition: one life of a claim and the parts that work in it."""

from __future__ import annotations

from collections.abc import Callable

from perdure.core import effects
from perdure.core.state import PartitionState
from perdure.engine.firing import Firing
from perdure.engine.gates import Gates
from perdure.engine.keeping import Keeping
from perdure.engine.life import Life
from perdure.engine.residents import Residents
from perdure.engine.router import Router
from perdure.engine.schedules import Schedules
from perdure.engine.searches import Searches
from perdure.engine.services import Services
from perdure.engine.snapshots import Snapshots
from perdure.engine.spill import Spill
from perdure.errors import LogError
from perdure.logs.contract import Producer, Topic

ACK_DELAY_US = 1_000_000


class Lead:
    """Everything volatile that the owner of a partition holds; it dies with its claim."""

    def __init__(
        self,
        services: Services,
        state: PartitionState,
        producer: Producer,
        owner: bytes,
        fail: Callable[[LogError], None],
        since: int,
        spill: Spill,
    ) -> None:
        self.life = Life(services, state, producer, owner, fail, self._fire, since, spill)
        self.residents = Residents(self.life)
        self.router = Router(self.life)
        self.searches = Searches(self.life)
        self.schedules = Schedules(self.life)
        self.gates = Gates(self.life)
        self.snapshots = Snapshots(self.life)
        self.keeping = Keeping(self.life)
        self.firing = Firing(self.life, self._fire)
        self._acking = False

    # ------------------------------------------------------------------ a life

    def begin(self) -> None:
        """The claim was read back: make everything again that the state implies."""
        self.life.timers.begin()
        self.router.begin()
        self.life.outbox.resend()
        self.searches.begin()
        self.schedules.begin()
        self.gates.begin()
        self.snapshots.begin()
        self.residents.begin()

    def leave(self, read: Callable[[], None]) -> None:
        """Acts no more, says so in the journal, and calls when that was read back."""
        self.residents.commits.flush()
        self.life.append("Released", {"reason": "leave"}, lambda _fact, _void: read())
        self._rest()

    def stop(self) -> None:
        """Nothing of this life acts any more."""
        if self.life.live:
            self.life.end()
            self._rest()

    def _rest(self) -> None:
        if not self.life.resting:
            self.life.resting = True
            self.life.timers.close()
            self.router.close()
            self.schedules.close()
            self.gates.close()
            self.snapshots.close()
            self.residents.close()
            self.firing.close()

    def quiet(self) -> bool:
        """Whether nothing is under way in this life."""
        waking = self.firing.busy or self.residents.busy
        return not (self.life.unread or self.life.outbox.unsent() or self.router.busy or waking)

    # ------------------------------------------------------------------ effects

    def perform(self, effect: effects.Effect) -> None:
        """Does what an accepted record asks for."""
        if not self.life.acting:
            return
        match effect:
            case effects.Activate(run):
                self.residents.activate(run)
            case effects.Arm(run, key, due):
                self.life.timers.arm(run, key, due)
            case effects.Send(target):
                self.life.outbox.mark(target)
            case effects.Ended(run):
                self._ended(run)
            case effects.Restarted(run):
                self.residents.restarted(run)
            case effects.Answer():
                self.life.replies.answer(effect)
            case effects.Delayed(due):
                self.life.timers.arm("", "", due)
            case effects.TimerDue(run, key, due):
                self.firing.due(run, key, due)
            case effects.Search(scan):
                self.searches.mark(scan)
            case effects.Configured():
                self.router.configured()
                self.residents.admission.configured()
                self.residents.retry_absent()
                self.schedules.configured()
            case effects.Granted(run, key):
                self.residents.attempts.granted(run, key)
            case effects.GateDue(limit, value, due):
                self.gates.arm(limit, value, due)
            case effects.Rescheduled(schedule):
                self.schedules.changed(schedule)
            case effects.Ticked(schedule):
                self.schedules.ticked(schedule)
            case effects.Bury(offset, reason):
                self.life.replies.bury(Topic.JOURNAL, offset, reason)
            case effects.Claimed():
                pass

    def _ended(self, run_id: str) -> None:
        run = self.life.state.runs.get(run_id)
        if (
            run is not None and run.status in ("skipped", "failed") and not run.ops
        ):  # no commit tells of its end
            self.life.services.observers.never_began(run)
        self.residents.ended(run_id)
        self.life.replies.ended(run_id)
        self.schedules.ended(run_id)

    def _fire(self, run: str, key: str, due: int) -> None:
        if run:
            self.residents.fire(run, key, due)
        else:
            self.router.due()

    def settle(self) -> None:
        """After a batch: send what it caused."""
        life = self.life
        if not life.acting:
            return
        life.outbox.flush()
        self.residents.commits.flush()
        self.residents.resting.crowd()
        self.router.propose()
        self.snapshots.consider()
        self.keeping.consider()
        if not self._acking and life.outbox.acks(at_least=1):
            self._acking = True
            life.services.clock.call_at(life.services.clock.now() + ACK_DELAY_US, self._ack)

    def _ack(self) -> None:
        self._acking = False
        acks = [] if not self.life.acting else self.life.outbox.acks(at_least=1)
        if acks:
            self.life.append("Commit", {"changes": [], "acks": acks}, lambda _fact, _void: None)
