"""Threads that run blocking calls. Daemonic: none of them can keep the process from exiting."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue

from perdure.execution.ports import NoThread

__all__ = ["Threads"]

_log = logging.getLogger("perdure.worker")


class Threads:
    """Up to `threads_max` threads, started as they are needed. Calls beyond that wait in order.

    Not a ThreadPoolExecutor: the interpreter joins those at exit, for as long as it takes.
    """

    def __init__(self, threads_max: int, name: str) -> None:
        self._threads_max = threads_max
        self._name = name
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._count = 0
        self._idle = 0
        self._stopped = False

    def submit(self, call: Callable[[], None]) -> None:
        """Has `call` made by one of the threads. It should not raise; what it raises is logged.

        Raises NoThread if there is no thread, and the system gives none.
        """
        with self._lock:
            if self._stopped:
                return
            if self._idle:
                self._idle -= 1
            elif self._count < self._threads_max:
                self._grow()
            self._calls.put(call)

    def _grow(self) -> None:
        name = f"{self._name}-{self._count + 1}"
        try:
            threading.Thread(target=self._work, name=name, daemon=True).start()
        except RuntimeError as error:
            if not self._count:
                raise NoThread(str(error)) from error
        else:
            self._count += 1

    def stop(self) -> None:
        """Lets the threads end as soon as each has finished the call that it is in. Calls that wait are dropped."""
        with self._lock:
            self._stopped = True
            while not self._calls.empty():
                self._calls.get_nowait()
            for _ in range(self._count):
                self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                call()
            except BaseException:  # noqa: BLE001 - the thread has other calls to make
                _log.exception("a call in thread %s failed", threading.current_thread().name)
            del call  # or its values live until the next one comes
            with self._lock:
                self._idle += 1
