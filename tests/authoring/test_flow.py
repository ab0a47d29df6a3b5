"""Flow control that makes no sense is refused, with a sentence."""

from __future__ import annotations

from typing import Any, cast

import pytest

from perdure import (
    Batch,
    CancelOn,
    Concurrency,
    Context,
    Debounce,
    Event,
    Idempotency,
    Priority,
    RateLimit,
    Singleton,
    Throttle,
    Timeouts,
    UsageError,
)
from tests.engine.flow import instant

pytestmark = pytest.mark.asyncio

# --- what makes no sense ----------------------------------------------------------------------------------------------


class Order(Event, name="order/placed"):
    customer: str


REFUSED: dict[str, Any] = {
    "a whole number from 1 to 10,000; to let nothing start, pause": lambda: Concurrency(0),
    "Throttle(limit=0)": lambda: Throttle(0, "1s"),
    "RateLimit(limit=-1)": lambda: RateLimit(-1, "1s"),
    "RateLimit(limit=True)": lambda: RateLimit(True, "1s"),
    "Throttle(period='1ms'): a time from 1 s to 7 days": lambda: Throttle(1, "1ms"),
    "RateLimit(period='8d'): a time from 1 s to 7 days": lambda: RateLimit(1, "8d"),
    "Debounce(period='soon')": lambda: Debounce("soon"),
    "the timeout is shorter than the quiet period": lambda: Debounce("10s", timeout="5s"),
    "Batch(max_size=1)": lambda: Batch(1, "1s"),
    "Batch(max_bytes=10485760)": lambda: Batch(2, "1s", max_bytes=10 * 2**20),
    "Batch(if_='event.data. ==')": lambda: Batch(2, "1s", if_="event.data. =="),
    "Concurrency(unit='worker'): use 'step', 'run'": lambda: Concurrency(1, unit=cast(Any, "worker")),
    "Singleton(mode='stop'): use 'skip', 'cancel'": lambda: Singleton(mode=cast(Any, "stop")),
    "Idempotency(key='')": lambda: Idempotency(""),
    "Concurrency(key='event.data.'): Syntax error": lambda: Concurrency(1, key="event.data."),
    "Singleton(key='data.customer'): a path begins with event; write \"event.data.customer\"": lambda: (
        Singleton(key="data.customer")
    ),
    "it is a list<int>, and has to be a text or a number": lambda: Concurrency(1, key="[1, 2]"),
    "debounce= and batch= do not go together": lambda: instant(debounce=Debounce("1s"), batch=Batch(2, "1s")),
    "batch= and priority= do not go together": lambda: instant(batch=Batch(2, "1s"), priority=Priority("1")),
    "batch= and idempotency= do not": lambda: instant(
        batch=Batch(2, "1s"), idempotency=Idempotency("event.id")
    ),
    "batch= and rate_limit= do not": lambda: instant(batch=Batch(2, "1s"), rate_limit=RateLimit(1, "1s")),
    "batch= and cancel_on= do not": lambda: instant(batch=Batch(2, "1s"), cancel_on=CancelOn("gone")),
    'batch= and singleton= with mode="skip" do not': lambda: instant(
        batch=Batch(2, "1s"), singleton=Singleton()
    ),
    "concurrency= counts by 'event.data.who', in which the events of one batch may differ": lambda: instant(
        batch=Batch(2, "1s"), concurrency=Concurrency(1, key="event.data.who")
    ),
    "Timeouts(start=) is over before debounce= lets a run begin": lambda: instant(
        debounce=Debounce("10m"), timeouts=Timeouts(start="5m")
    ),
    "Timeouts(start=) is over before batch= lets a run begin": lambda: instant(
        batch=Batch(100, "10m"), timeouts=Timeouts(start="10m")
    ),
    "priority= moves runs that wait, and none does here": lambda: instant(priority=Priority("1")),
    "two limits of steps with scope 'function' and no key": lambda: instant(
        concurrency=[Concurrency(1), Concurrency(2)]
    ),
    "function 'f' at ": lambda: instant(throttle=RateLimit(1, "1s")),
    "use Concurrency(10), or a list of these": lambda: instant(concurrency=10),
}


@pytest.mark.parametrize("words", REFUSED)
async def test_what_makes_no_sense_is_refused_when_it_is_declared(words: str) -> None:
    with pytest.raises(UsageError) as refused:
        REFUSED[words]()
    assert words in str(refused.value)


async def test_a_key_that_the_event_class_does_not_have_is_refused_at_start() -> None:
    a = instant(on=Order, concurrency=Concurrency(1, key="event.data.costumer"))
    with pytest.raises(
        UsageError, match=r"Concurrency.*costumer.*Order has no field 'costumer'; it has customer"
    ):
        a.functions.check()


async def test_one_limit_of_the_app_has_one_number() -> None:
    a = instant(concurrency=Concurrency(2, scope="app"))

    @a.function(on="go", id="g", concurrency=Concurrency(3, scope="app"))
    async def g(_ctx: Context) -> None: ...

    with pytest.raises(
        UsageError, match=r"function 'g' at .*limit=3.*'f' at .* has 2 there.*give both the same"
    ):
        a.functions.check()
