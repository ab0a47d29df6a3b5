"""perdure: client and worker in one process, as in `make bench`."""

from __future__ import annotations

from measuring import arguments, measured, report, run
from workloads import make_app

import perdure
from perdure.worker.process import calm_collector


async def main() -> None:
    args = arguments()
    calm_collector()
    app, functions = make_app(args.url)

    def once(workload: str):
        async def started() -> int:
            return await (await app.start(functions[workload])).result()

        return started

    async with app.worker():
        cells = await measured({name: once(name) for name in functions}, quick=args.quick)
    await app.close()
    setting = (
        "one process; Kafka, acks=all"
        if args.url.startswith("kafka")
        else "one process; SQLite, synchronous=FULL"
    )
    report(getattr(perdure, "__version__", "this commit"), setting, cells)


if __name__ == "__main__":
    run(main())
