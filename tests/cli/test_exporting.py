"""A worker of the command line sends its spans where OpenTelemetry's variables say, and only then."""

from __future__ import annotations

import json
import logging
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.trace import TracerProvider

from perdure.observability.exporting import SeldomEach, exporting, wanted
from tests.cli.terminal import screen, told
from tests.observability.collecting import provider_set

SHOP = """
from perdure import App, Context

app = App("shop")


def charge(order: str) -> str:
    return f"paid {order}"


@app.function(on="shop/ordered")
async def sell(ctx: Context) -> str:
    return await ctx.step.run("charge", charge, ctx.event.data["order"])
"""
WAIT_S = 20.0


class Receiver:
    """A collector: what is sent to `/v1/traces` by OTLP over HTTP."""

    def __init__(self) -> None:
        received = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                received.take(self.path, body)
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._news = threading.Condition()
        self.spans: list[tuple[str, str]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def take(self, path: str, body: bytes) -> None:
        assert path == "/v1/traces"
        request = ExportTraceServiceRequest.FromString(body)
        with self._news:
            for resource in request.resource_spans:
                names = {each.key: each.value.string_value for each in resource.resource.attributes}
                for scope in resource.scope_spans:
                    self.spans += [(names["service.name"], span.name) for span in scope.spans]
            self._news.notify_all()

    def until(self, *wanted: tuple[str, str]) -> None:
        with self._news:
            assert self._news.wait_for(lambda: set(wanted) <= set(self.spans), WAIT_S), self.spans

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    yield found
    found.close()


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / ".perdure").mkdir()
    (tmp_path / "shop.py").write_text(SHOP)
    return tmp_path


def order(shop: Path) -> None:
    told(shop, "events", "send", "shop/ordered", json.dumps({"order": "one"}))


@pytest.mark.parametrize("command", ["worker", "dev"])
def test_spans_are_sent_when_the_endpoint_is_set(shop: Path, receiver: Receiver, command: str) -> None:
    # The default delay is 5 s. What is still waiting at the end is sent then.
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_BSP_SCHEDULE_DELAY": "60000"}
    with screen(shop, command, "shop.py:app", env=env) as worker:
        worker.until(r"ready: leads all 8 partitions")
        order(shop)
        if command == "dev":
            worker.until(r"sell +\S+ +completed in")
        else:
            _until_completed(shop)
        worker.send(signal.SIGTERM)
        assert worker.exit_code() == 0, worker.text
    receiver.until(("shop", "charge"), ("shop", "sell"))


def _until_completed(shop: Path) -> None:
    deadline = time.monotonic() + WAIT_S
    while "completed" not in (shown := told(shop, "runs", "list")):
        assert time.monotonic() < deadline, shown


def test_a_collector_that_is_away_is_told_once_and_stops_nobody(shop: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", "OTEL_BSP_SCHEDULE_DELAY": "50"}
    with screen(shop, "dev", "shop.py:app", env=env) as worker:
        worker.until(r"ready: leads all 8 partitions")
        order(shop)
        worker.until(r"sell +\S+ +completed in")
        worker.until(r"(warning|error): .*(span|export|retry)")
        order(shop)
        worker.until(r"sell +\S+ +completed in")
        worker.send(signal.SIGTERM)
        assert worker.exit_code() == 0
        assert "Traceback" not in worker.text
        assert len([line for line in worker.text.splitlines() if "127.0.0.1" in line and "rror" in line]) <= 2


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318", "OTEL_TRACES_EXPORTER": "console, otlp"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318", "OTEL_SDK_DISABLED": "True"}, False),
    ],
)
def test_the_variables_decide(environment: dict[str, str], expected: bool) -> None:
    assert wanted(environment) is expected


@pytest.mark.asyncio
async def test_a_provider_of_the_app_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    own = TracerProvider(shutdown_on_exit=False)
    with provider_set(monkeypatch, own):
        async with exporting("shop", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}):
            assert trace.get_tracer_provider() is own


@pytest.mark.asyncio
async def test_what_cannot_be_is_said_and_stops_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    with provider_set(monkeypatch, None):
        async with exporting("shop", asked | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}):
            assert "http/protobuf, not as grpc" in caplog.text
        monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace.export", None)
        async with exporting("shop", asked):
            assert "pip install 'perdure[otel]'" in caplog.text


def test_each_logger_is_heard_once_a_minute() -> None:
    now = 0.0
    seldom = SeldomEach(60.0, lambda: now)

    def heard(name: str) -> bool:
        return seldom.filter(logging.LogRecord(name, logging.ERROR, "", 0, "away", (), None))

    assert [heard("a"), heard("a"), heard("b")] == [True, False, True]
    now = 61.0
    assert heard("a")
