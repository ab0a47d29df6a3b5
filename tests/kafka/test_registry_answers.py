"""What a registry may answer, and what is said of it: from a stub that answers as it is told."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from perdure import LogError, UsageError
from perdure.logs.kafka.registry import SchemaRegistry, registry_from_environment
from tests.brokers.registry import need_client

PREFIX = "PERDURE_SCHEMA_REGISTRY_"


@pytest.fixture(autouse=True)
def _client() -> None:
    need_client()


class Stub(ThreadingHTTPServer):
    """Gives one answer to all."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.status = 200
        self.body: object = {"schema": '"string"'}
        self.authorizations: list[str | None] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        stub: Any = self.server
        stub.authorizations.append(self.headers.get("Authorization"))
        body = json.dumps(stub.body).encode()
        self.send_response(stub.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def stub() -> Iterator[Stub]:
    with Stub() as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()


@pytest.mark.asyncio
async def test_credentials_pass_through(stub: Stub) -> None:
    found = registry_from_environment(
        {f"{PREFIX}URL": stub.url, f"{PREFIX}BASIC_AUTH_USER_INFO": "bob:secret", "PERDURE_LOG": "memory:"}
    )
    assert found is not None
    schema = await found.fetch(1)
    found.close()
    assert schema is not None
    assert (schema.kind, schema.text) == ("AVRO", '"string"')
    assert stub.authorizations == ["Basic " + base64.b64encode(b"bob:secret").decode()]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, {"error_code": 401, "message": "who are you"}),
        (403, {"error_code": 403, "message": "not you"}),
        (404, {"message": "no such page"}),
        (404, {"error_code": 404, "message": "HTTP 404 Not Found"}),
        (429, {"error_code": 429, "message": "later"}),
        (500, {"error_code": 50001, "message": "my store is away"}),
        (200, ["what"]),
    ],
)
async def test_what_says_nothing_of_the_schema_is_an_error_without_secrets(
    stub: Stub, status: int, body: object
) -> None:
    stub.status, stub.body = status, body
    registry = SchemaRegistry({"url": stub.url, "basic.auth.user.info": "bob:secret"})
    with pytest.raises(LogError, match=f"the Schema Registry at {stub.url} ") as told:
        await registry.fetch(1)
    registry.close()
    assert "secret" not in str(told.value)


@pytest.mark.asyncio
async def test_only_its_own_no_is_a_no(stub: Stub) -> None:
    stub.status, stub.body = 404, {"error_code": 40403, "message": "Schema 1 not found"}
    registry = SchemaRegistry({"url": stub.url})
    assert await registry.fetch(1) is None
    registry.close()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"URL": "http://bob:secret@registry:8081"}, "a password has no place in the registry's URL"),
        ({"URL": "http://a:1,http://bob:secret@b:2"}, "a password has no place in the registry's URL"),
        ({"URL": "registry:8081"}, "cannot be: Invalid url"),
        ({"URL": "http://a", "COLOUR": "red"}, "cannot be: Unrecognized properties: colour"),
        ({"URL": "http://a", "TIMEOUT": "soon"}, "PERDURE_SCHEMA_REGISTRY_TIMEOUT is a number, not 'soon'"),
        ({"URL": "http://a", "SSL_CA_LOCATION": "/nowhere/ca.pem"}, "cannot be: .*No such file"),
        ({"URL": "http://a", "BASIC_AUTH_USER_INFO": "secret"}, "basic.auth.user.info"),
    ],
)
def test_options_that_cannot_be_are_refused_without_secrets(options: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words) as told:
        registry_from_environment({PREFIX + name: value for name, value in options.items()})
    assert "secret" not in str(told.value)


def test_without_a_url_there_is_none() -> None:
    assert registry_from_environment({}) is None
    assert registry_from_environment({f"{PREFIX}URL": ""}) is None
