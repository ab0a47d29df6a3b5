"""Measures the engine on a log against that log's own floor: `make bench`, and `make bench-kafka`.

README.md says how to read what it prints.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from broker import broker
from machine import Others, described, load
from parts import DEFAULT, PARTS, summary
from table import printed

HERE = Path(__file__).resolve().parent
LATEST = HERE / "results" / "latest.json"
KEPT = HERE / "figures"
ON_FILE = "embedded log, synchronous=FULL"
ON_KAFKA = "Kafka, one broker on the same cores, 8 partitions, acks=all"
WARM_UP = "steps"


def repeat(args: argparse.Namespace, servers: str, part: str, number: int) -> dict[str, Any] | None:
    """One repetition of a part in a process of its own; number 0 only warms up a broker. None when it has failed."""
    words = [sys.executable, str(HERE / PARTS[part].script), str(args.folder), *PARTS[part].words]
    words += ["--quick"] * (args.quick or not number) + ["--floor-first"] * ((number + 1) % 2)
    words += ["--two-processes"] * (args.two_processes and PARTS[part].script == "repetition.py")
    words += ["--kafka", servers] if servers else []
    began, before, others = perf_counter(), load(), Others()
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        print(f"{part}, repetition {number} failed, load {before} to {load()}", file=sys.stderr)
        return None
    name = f"{part}, repetition {number}" if number else "to warm up"
    taken = others.cores()
    told = f"{perf_counter() - began:.1f} s, load {before} to {load()}, others used {taken:.2f} cores"
    print(f"{name}: {told}", file=sys.stderr)
    return {"part": part, "load": [before, load()], "others": taken, **json.loads(done.stdout)}


@contextmanager
def place(args: argparse.Namespace) -> Iterator[str]:
    """Where is measured: the bootstrap servers of a broker that is warm, or "" for the embedded log."""
    if args.kafka is None:
        yield ""
        return
    with broker(args.kafka, args.folder) as servers:
        repeat(args, servers, WARM_UP, 0)
        yield servers


def measured(args: argparse.Namespace, parts: Sequence[str]) -> list[dict[str, Any] | None]:
    """All repetitions; those of different parts take turns, so that each sees several hours of the machine."""
    counts = {part: args.repetitions or (2 if args.quick else PARTS[part].repetitions) for part in parts}
    with place(args) as servers:
        return [
            repeat(args, servers, part, number)
            for number in range(1, max(counts.values()) + 1)
            for part in parts
            if number <= counts[part]
        ]


def keep(result: dict[str, Any], *, kafka: bool) -> Path:
    """Puts the figures of the parts that were measured in place of what was kept of these; the file."""
    file = KEPT / ("kafka.json" if kafka else "embedded.json")
    kept: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    for part in result["parts"]:
        repetitions = [one for one in result["repetitions"] if one["part"] == part]
        kept[part] = {
            "machine": result["machine"],
            "log": result["log"],
            "loads": [one["load"] for one in repetitions],
            "others": [one["others"] for one in repetitions],
            "repetitions": len(repetitions),
            "rows": [row for row in result["summary"] if row["part"] == part],
        }
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(dict(sorted(kept.items())), indent=1) + "\n")
    return file


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="parts: " + "; ".join(f"{name} ({part.what})" for name, part in PARTS.items()),
    )
    parser.add_argument("parts", nargs="*", help=f"what is measured; by default {', '.join(DEFAULT)}")
    parser.add_argument("--all", action="store_true", help="every part")
    parser.add_argument(
        "--quick", action="store_true", help="a smoke test of a few seconds; its figures mean little"
    )
    parser.add_argument("--two-processes", action="store_true", help="the client in a process of its own")
    parser.add_argument("--repetitions", type=int, help="default: 5, or 3 of long parts; with --quick 2")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where the logs lie")
    parser.add_argument(
        "--kafka",
        nargs="?",
        const="",
        type=_servers,
        metavar="HOST:PORT",
        help="on Kafka: on a broker that infra/kafka.sh starts for this, or on the one that is named",
    )
    parser.add_argument("--out", type=Path, default=LATEST, help="where all figures go, as JSON")
    parser.add_argument(
        "--keep", action="store_true", help="and into figures/, which docs/performance.md is made of"
    )
    args = parser.parse_args()
    unknown = [part for part in args.parts if part not in PARTS]
    if args.keep and args.quick:
        parser.error("figures of --quick are not kept: they mean little")
    if unknown:
        parser.error(f"there is no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    return args


def _servers(text: str) -> str:
    """What follows `--kafka`; a part that stands there would be asked for a broker until it is given up."""
    if text and ":" not in text:
        raise argparse.ArgumentTypeError(f"{text!r} is no HOST:PORT; parts stand before --kafka")
    return text


def main() -> None:
    args = arguments()
    kafka = args.kafka is not None
    parts = list(PARTS) if args.all else args.parts or list(DEFAULT)
    parts = [part for part in parts if PARTS[part].log or not kafka]
    machine, before = described(args.folder), load()
    done = measured(args, parts)
    repetitions = [one for one in done if one is not None]
    parts = [part for part in parts if any(one["part"] == part for one in repetitions)]
    result = {
        "machine": machine,
        "load": {"before": before, "after": load()},
        "log": ON_FILE if not kafka else ON_KAFKA if not args.kafka else f"Kafka at {args.kafka}",
        "two_processes": args.two_processes,
        "quick": args.quick,
        "parts": parts,
        "summary": [row for part in parts for row in summary(part, repetitions, kafka=kafka)],
        "repetitions": repetitions,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(printed(result, {part: PARTS[part].what for part in parts}))
    print(f"\n{args.out}")
    if args.keep:
        print(keep(result, kafka=kafka))
    sys.exit(1 if None in done else 0)


if __name__ == "__main__":
    main()
