"""Sending spans over OTLP, when OpenTelemetry's own variables ask for it: what the command line's workers do.

    OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 perdure worker shop.py:app

Code that sets a tracer provider of its own keeps it: then this does nothing. The extra `perdure[otel]` brings what it
needs. OpenTelemetry's other variables (headers, sampler, batch sizes, resource attributes) are read by its SDK.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

__all__ = ["SeldomEach", "exporting"]

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_FLUSH_S: Final = 5.0
"""What the last spans may take at the end of a worker; then they are given up."""
_log = logging.getLogger("perdure.observability")


def wanted(environment: Mapping[str, str]) -> bool:
    """Whether the variables ask for spans to be sent."""
    exporters = [name.strip() for name in environment.get("OTEL_TRACES_EXPORTER", "").split(",")]
    return (
        any(environment.get(name, "").strip() for name in _ENDPOINTS)
        and environment.get("OTEL_SDK_DISABLED", "").strip().lower() != "true"
        and (exporters == [""] or "otlp" in exporters)
    )


@asynccontextmanager
async def exporting(app: str, environment: Mapping[str, str] = os.environ) -> AsyncGenerator[None]:
    """While the context is open, spans of this process are sent, if the environment asks for it. Never raises for it.

    Leaving it sends what is left, for at most 5 s.
    """
    close = _exporter(app, environment) if wanted(environment) else None
    try:
        yield
    finally:
        if close is not None:
            import asyncio

            await asyncio.to_thread(close)


def _exporter(app: str, environment: Mapping[str, str]) -> Callable[[], None] | None:
    """Sets the provider; what ends it, or None when there is nothing to end."""
    from opentelemetry import trace

    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return None  # the app's code has set its own
    protocol = next((found for name in _PROTOCOLS if (found := environment.get(name))), "http/protobuf")
    if protocol != "http/protobuf":
        _log.warning("no spans are sent: perdure speaks OTLP as http/protobuf, not as %s", protocol)
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        _log.warning("no spans are sent, %s is missing: pip install 'perdure[otel]'", error.name)
        return None
    named = "OTEL_SERVICE_NAME" in environment or f"{SERVICE_NAME}=" in environment.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    resource = Resource.create({} if named else {SERVICE_NAME: app})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)

    def close() -> None:
        ending = threading.Thread(target=provider.shutdown, name="perdure-spans", daemon=True)
        ending.start()
        ending.join(_FLUSH_S)

    return close


class SeldomEach(logging.Filter):
    """Lets a logger say something once a minute: an exporter says at each try that nobody is there."""

    def __init__(self, again_s: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._again_s = again_s
        self._clock = clock
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        now = self._clock()
        if now - self._said.get(record.name, -self._again_s) < self._again_s:
            return False
        self._said[record.name] = now
        return True
