"""As much of S3 as a store of payloads asks for, on loopback."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from perdure.payloads.objects import ObjectStore


class FakeS3:
    """One bucket, called "bucket"."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, datetime]] = {}
        self.failing = False
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever)

    def listing(self, prefix: str) -> bytes:
        items = "".join(
            f"<Contents><Key>{name}</Key><Size>{len(data)}</Size><ETag>1</ETag>"
            f"<LastModified>{at.isoformat().replace('+00:00', 'Z')}</LastModified></Contents>"
            for name, (data, at) in sorted(self.objects.items())
            if name.startswith(prefix)
        )
        return f"<ListBucketResult>{items}<IsTruncated>false</IsTruncated></ListBucketResult>".encode()

    def __enter__(self) -> FakeS3:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def endpoint(self) -> str:
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def store(self) -> ObjectStore:
        return ObjectStore(
            "s3://bucket/shop",
            endpoint=self.endpoint,
            access_key_id="test",
            secret_access_key="test",
            region="eu-1",
            client_options={"allow_http": True},
            retry_config={"max_retries": 0},
        )


def _handler(fake: FakeS3) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

        def answer(self, code: int, body: bytes = b"", **headers: str) -> None:
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            if "Content_Length" not in headers:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def name(self) -> str:
            return urlsplit(self.path).path.removeprefix("/bucket").strip("/")

        def do_PUT(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            if not fake.failing:
                fake.objects[self.name()] = (data, datetime.now(UTC))
            self.answer(403 if fake.failing else 200, ETag='"1"')

        def do_GET(self, head: bool = False) -> None:
            query = parse_qs(urlsplit(self.path).query)
            found = fake.objects.get(self.name())
            if fake.failing:
                self.answer(403)
            elif "list-type" in query:
                self.answer(200, fake.listing(query.get("prefix", [""])[0]))
            elif found is None:
                self.answer(404)
            else:
                at = format_datetime(found[1], usegmt=True)
                headers = {"Last_Modified": at, "Content_Length": str(len(found[0]))}
                self.answer(200, b"" if head else found[0], ETag='"1"', **headers)

        def do_HEAD(self) -> None:
            self.do_GET(head=True)

        def do_DELETE(self) -> None:
            fake.objects.pop(self.name(), None)
            self.answer(204)

        def do_POST(self) -> None:  # ?delete
            text = self.rfile.read(int(self.headers["Content-Length"])).decode()
            names = [part.partition("</Key>")[0] for part in text.split("<Key>")[1:]]
            for name in names:
                fake.objects.pop(name, None)
            gone = "".join(f"<Deleted><Key>{name}</Key></Deleted>" for name in names)
            self.answer(200, f"<DeleteResult>{gone}</DeleteResult>".encode())

    return Handler
