"""A process on a SQLite log, for tests that need real ones. Writes one JSON line for each thing that it was told.

python process.py append PATH NAME COUNT      append COUNT entries, at most 20 at a time unanswered
python process.py member PATH LEASE_MS STALL_MS     join; on stdin `hang SECONDS` blocks the loop, the end closes
"""

import asyncio
import json
import sys
import time
from collections.abc import Sequence

from perdure.errors import LogError
from perdure.logs import Entry, Topic
from perdure.logs.sqlite import SqliteLog


def tell(**what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def append(path: str, name: str, count: int) -> None:
    log = SqliteLog(path)
    await log.open()
    producer = log.producer()
    room = asyncio.Semaphore(20)
    for number in range(count):
        await room.acquire()
        partition = number % 3

        def done(outcome: int | LogError, number: int = number, partition: int = partition) -> None:
            room.release()
            assert isinstance(outcome, int), outcome
            tell(acked=number, partition=partition, offset=outcome)

        producer.append(Topic.JOURNAL, partition, f"{name}:{number}".encode(), key=name.encode(), done=done)
    await log.close()


class Listener:
    def __init__(self, log: SqliteLog) -> None:
        self.member = log.member(self)

    def assigned(self, partition: int) -> None:
        tell(assigned=partition)
        self.member.follow(Topic.JOURNAL, partition, 0)

    async def revoked(self, partition: int) -> None:
        tell(revoked=partition)

    def lost(self, partition: int) -> None:
        tell(lost=partition)

    def ended(self, error: LogError) -> None:
        tell(ended=str(error))

    def entries(self, topic: Topic, partition: int, batch: Sequence[Entry]) -> None:
        tell(partition=partition, got=[entry.value.decode() for entry in batch])


async def member(path: str, lease_ms: int, stall_ms: int) -> None:
    log = SqliteLog(path, lease_us=lease_ms * 1_000, stall_us=stall_ms * 1_000)
    await log.open()
    await Listener(log).member.join()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        if line.startswith("hang"):
            time.sleep(float(line.split()[1]))
            tell(awake=True)
    await log.close()


if __name__ == "__main__":
    if sys.argv[1] == "append":
        asyncio.run(append(sys.argv[2], sys.argv[3], int(sys.argv[4])))
    else:
        asyncio.run(member(sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
