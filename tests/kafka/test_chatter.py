"""A broker that is away is told once in a while, however often its clients try."""

from __future__ import annotations

import logging

from perdure.logs.kafka.chatter import Chatter


def test_one_line_of_a_kind_is_let_through_and_again_after_a_while() -> None:
    now = 100.0
    chatter = Chatter(30.0, lambda: now)

    def said(text: str) -> bool:
        return chatter.filter(logging.LogRecord("x", logging.ERROR, "", 0, text, None, None))

    assert said("FAIL [group]: Connection refused")
    assert not said("FAIL [reads]: Connection refused")
    assert said("ERROR [appends]: 1/1 brokers are down"), "another kind"
    now = 131.0
    assert said("FAIL [group]: Connection refused")


def test_what_passes_by_itself_is_told_when_it_has_not_passed() -> None:
    now = 100.0
    chatter = Chatter(30.0, lambda: now)

    def said() -> bool:
        text = "GETPID [appends]: Failed to acquire idempotence PID: Coordinator load in progress: retrying"
        return chatter.filter(logging.LogRecord("x", logging.WARNING, "", 0, text, None, None))

    assert not said()
    now = 129.0
    assert not said()
    now = 130.5
    assert said()
    now = 131.0
    assert not said()
