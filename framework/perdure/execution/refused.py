"""What a body's event loop does not do, and what to write instead."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NoReturn

from perdure.errors import UsageError

__all__ = ["RefusingLoop", "in_a_step"]

_THREADS = "threads and executors"
_SOCKETS = "network connections"
_PROCESSES = "subprocesses"
_SIGNALS = "signal handlers"

_REFUSED = {
    "run_in_executor": _THREADS,
    "set_default_executor": _THREADS,
    "shutdown_default_executor": _THREADS,
    "call_soon_threadsafe": _THREADS,
    "getaddrinfo": _SOCKETS,
    "getnameinfo": _SOCKETS,
    "create_connection": _SOCKETS,
    "create_server": _SOCKETS,
    "create_unix_connection": _SOCKETS,
    "create_unix_server": _SOCKETS,
    "create_datagram_endpoint": _SOCKETS,
    "connect_accepted_socket": _SOCKETS,
    "start_tls": _SOCKETS,
    "sendfile": _SOCKETS,
    "add_reader": _SOCKETS,
    "remove_reader": _SOCKETS,
    "add_writer": _SOCKETS,
    "remove_writer": _SOCKETS,
    "sock_recv": _SOCKETS,
    "sock_recv_into": _SOCKETS,
    "sock_recvfrom": _SOCKETS,
    "sock_recvfrom_into": _SOCKETS,
    "sock_sendall": _SOCKETS,
    "sock_sendto": _SOCKETS,
    "sock_connect": _SOCKETS,
    "sock_accept": _SOCKETS,
    "sock_sendfile": _SOCKETS,
    "connect_read_pipe": _PROCESSES,
    "connect_write_pipe": _PROCESSES,
    "subprocess_shell": _PROCESSES,
    "subprocess_exec": _PROCESSES,
    "add_signal_handler": _SIGNALS,
    "remove_signal_handler": _SIGNALS,
}
"""Methods of an event loop that reach outside of the run."""

_DRIVEN = ("run_forever", "run_until_complete", "stop", "close")
"""Methods of whoever drives a loop, which is never the body."""


def in_a_step(what: str) -> UsageError:
    """The error for something that an `async def` body must leave to its steps."""
    return UsageError(
        f"{what} cannot be used in the body of a function, which must do the same again on replay; "
        "put this in a step: await ctx.step.run(id, fn, ...)"
    )


def _refusing(method: str, what: str) -> Callable[..., NoReturn]:
    def refuse(self: object, *args: Any, **kwargs: Any) -> NoReturn:
        raise in_a_step(f"{what} (loop.{method})")

    refuse.__name__ = method
    return refuse


class RefusingLoop(asyncio.AbstractEventLoop):
    """An event loop of which every method that has no place in a body raises UsageError."""

    def set_task_factory(self, factory: object) -> NoReturn:
        raise UsageError("the tasks of a run are its loop's own; a body cannot set a task factory")

    def set_exception_handler(self, handler: object) -> NoReturn:
        raise UsageError(
            "exceptions of callbacks go to ctx.log; a handler cannot be set in the body of a function"
        )

    def set_debug(self, enabled: bool) -> None:
        """Does nothing: asyncio's debug mode looks at the clock."""


def _refuse_driving(method: str) -> Callable[..., NoReturn]:
    def refuse(self: object, *args: Any, **kwargs: Any) -> NoReturn:
        raise UsageError(
            f"loop.{method} cannot be used in the body of a function: its loop is driven by the run"
        )

    refuse.__name__ = method
    return refuse


for _method, _what in _REFUSED.items():
    setattr(RefusingLoop, _method, _refusing(_method, _what))
for _method in _DRIVEN:
    setattr(RefusingLoop, _method, _refuse_driving(_method))
