"""One repetition: W2 with 200 in flight, not traced and then traced, each run and step of it. Prints one line of JSON.

The spans go to OpenTelemetry's own batch processor, whose exporter counts them and does nothing else. Its queue is
long enough to drop none: "spans per step" says whether that was so.
"""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from places import Cells, Setting, repetition_of
from repetition import FULL, IN_FLIGHT, QUICK, WARM_UP, repetition
from workloads import STEPS

QUEUE = 1_000_000
CELL = f"W2x{IN_FLIGHT}"


class Counted(SpanExporter):
    """Takes spans and counts them."""

    def __init__(self) -> None:
        self.spans = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans += len(spans)
        return SpanExportResult.SUCCESS


async def measure(setting: Setting) -> Cells:
    size = QUICK if setting.quick else FULL
    cells = size.cells(IN_FLIGHT)
    untraced = await repetition(setting.place(), size, cells, floor_first=setting.floor_first)
    provider, counted = TracerProvider(sampler=ALWAYS_ON, shutdown_on_exit=False), Counted()
    provider.add_span_processor(BatchSpanProcessor(counted, max_queue_size=QUEUE))
    trace.set_tracer_provider(provider)
    traced = await repetition(setting.place(), size, cells, floor_first=setting.floor_first)
    provider.shutdown()  # what is left in its queue is exported
    cell = traced[CELL]
    cell["untraced"] = untraced[CELL]["engine"]
    steps = (cell["engine"]["runs"] + WARM_UP + 1) * STEPS["W2"]
    cell["spans_per_step"] = counted.spans / steps
    return {f"{CELL} traced": cell}


if __name__ == "__main__":
    repetition_of(measure)
