"""The parent of the processes of these tests: it has everything imported, so that a fresh process is one fork away.

Reads commands from stdin, one JSON object a line, and answers each with one. It ends its children when stdin ends.

{"life": NAME, "arguments": {…}}   forks; the child lives this life and ends; {"pid": …}
{"reap": PID}                      waits for the end of a child; {"code": …}, negative for a signal

Its arguments are modules with further lives, or others of these names.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from typing import Any

from tests.crash.lives import LIVES
from tests.crash.scenarios import SCENARIOS

THREADS_END_S = 5.0


def born(life: str, arguments: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        errors = os.open(Path(arguments["folder"]) / "errors", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        nothing = os.open(os.devnull, os.O_RDWR)
        for target, source in ((0, nothing), (1, errors), (2, errors)):
            os.dup2(source, target)
        code = LIVES[life](**arguments)
    except BaseException:  # the only place where anybody could see it
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    for module in sys.argv[1:]:
        LIVES.update(importlib.import_module(module).LIVES)
    with tempfile.TemporaryDirectory(prefix="perdure-crash-") as folder:
        LIVES["whole"](
            folder, [(name, 1) for name in SCENARIOS]
        )  # what is made at the first use is inherited
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(THREADS_END_S)  # a worker's watchdogs were told to end, and may still be at it
    assert threading.active_count() == 1, "a process with threads cannot be forked"
    gc.freeze()
    children: set[int] = set()
    for line in sys.stdin:
        command = json.loads(line)
        if "reap" in command:
            _, status = os.waitpid(command["reap"], 0)
            children.discard(command["reap"])
            answer = {"code": os.waitstatus_to_exitcode(status)}
        else:
            pid = born(command["life"], command["arguments"])
            children.add(pid)
            answer = {"pid": pid}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
