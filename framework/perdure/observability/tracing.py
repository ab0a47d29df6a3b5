"""Whether runs are traced: decided when a worker starts, by the tracer provider that is set then.

Nothing of OpenTelemetry is loaded for those who do not use it, and nothing of its SDK for those who use its API only.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from functools import cache
from importlib import metadata

from perdure.observability.observer import Observer

_log = logging.getLogger("perdure.observability")


def tracing(app: str = "") -> Sequence[Observer]:
    """The tracing observer of an app, when a tracer provider of OpenTelemetry's SDK is set; else none.

    A provider that is set later is not seen until a worker starts again.
    """
    if "opentelemetry.trace" not in sys.modules and "OTEL_PYTHON_TRACER_PROVIDER" not in os.environ:
        return ()  # whoever had set a provider would have loaded it
    from opentelemetry.trace import NoOpTracerProvider, ProxyTracerProvider, get_tracer_provider

    provider = get_tracer_provider()
    if isinstance(provider, ProxyTracerProvider | NoOpTracerProvider):
        return ()
    if "opentelemetry.sdk.trace" in sys.modules:
        from opentelemetry.sdk.trace import TracerProvider

        from perdure.observability.runspans import tracing_with

        if isinstance(provider, TracerProvider):
            return tracing_with(provider, _version(), app)
    kind = f"{type(provider).__module__}.{type(provider).__qualname__}"
    _log.warning(
        "runs are not traced: %s is not the OpenTelemetry SDK's, and lets nobody choose span ids", kind
    )
    return ()


@cache
def _version() -> str:
    try:
        return metadata.version("perdure")
    except metadata.PackageNotFoundError:
        return ""
