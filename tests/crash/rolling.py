"""A rolling deploy and its rollback, played by real processes on any log."""

from __future__ import annotations

from collections import Counter

from tests.crash import verdict
from tests.crash.processes import Place, until
from tests.crash.sending import send_event

PATIENCE_S = 2.0


def in_force(here: Place) -> list[bool]:
    """For each partition: whether it routes by the newer code."""
    states = verdict.read(here.folder).states
    return [any(f["id"] == "fresh" for f in state.config["functions"]) for state in states]


def ended(here: Place) -> Counter[str]:
    return Counter(run.function for run in verdict.read(here.folder).runs() if run.status == "completed")


def deploy_and_roll_back(here: Place) -> None:
    """Old workers are killed and start again in the middle of a deploy; then the new ones are taken back."""
    old = [here.start("work", patience_s=PATIENCE_S) for _ in range(2)]
    for worker in old:
        worker.started()
    send_event(here, "crash/sequence", {"n": 1}, id="before")
    until(lambda: ended(here)["sequence"] == 1, "the old code works")

    new = here.start("work", patience_s=PATIENCE_S, code=2)
    until(lambda: in_force(here) and all(in_force(here)), "every partition routes by the new code")
    assert old[0].kill() == -9, old[0].errors()
    old[0] = here.start("work", patience_s=PATIENCE_S)
    old[0].started()
    sent = 12
    for number in range(sent):
        send_event(here, "crash/sequence", {"n": number}, id=f"during-{number}")
    until(lambda: ended(here)["sequence"] == 1 + sent, "the events run the old function")
    runs = verdict.read(here.folder).runs()
    fresh = [run for run in runs if run.function == "fresh"]
    assert len(fresh) == sent, "an old worker that starts again drops no trigger of the new code"
    assert {run.status for run in fresh} <= {"queued", "running", "completed"}, "absent code fails nothing"
    assert all(in_force(here))

    for number, worker in enumerate(old):
        assert worker.kill() == -9, worker.errors()
        old[number] = here.start("work", patience_s=PATIENCE_S, code=2)
    until(lambda: ended(here)["fresh"] == sent, "what was queued runs where its code is")

    for worker in (*old, new):
        assert worker.kill() == -9, worker.errors()
    back = here.start("work", patience_s=PATIENCE_S)
    until(lambda: not any(in_force(here)), "the old code's definitions count again", 20 + 3 * PATIENCE_S)
    send_event(here, "crash/sequence", {"n": 1}, id="after")
    until(lambda: ended(here)["sequence"] == 2 + sent, "the old code works again")
    assert back.stop() == 0, back.errors()
    story = verdict.read(here.folder)
    assert not story.faults
    assert Counter(run.function for run in story.runs())["fresh"] == sent
