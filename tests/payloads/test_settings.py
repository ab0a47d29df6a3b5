"""What an app and its environment say about payloads, and what is refused."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from perdure import AesGcm, App, FolderStore, ObjectStore, Payloads, UsageError, Zstd
from perdure.payloads.store import MemoryStore
from perdure.payloads.vault import Vault

KEY = b64encode(bytes(32)).decode()


def vault(app: App) -> Vault:
    return app.connections(app.log).vault


def test_beside_a_log_in_a_file_there_is_a_folder(tmp_path: Path) -> None:
    found = vault(App("a", log=f"sqlite:///{tmp_path}/log.db"))
    assert isinstance(found.store, FolderStore)
    assert found.store.folder == tmp_path / "log.db.payloads"
    assert (found.seals, found.encrypts) == (False, False)
    assert not found.store.folder.exists()  # it is made when it is needed


def test_other_logs() -> None:
    assert isinstance(vault(App("a", log="memory:")).store, MemoryStore)
    found = vault(App("a", log="kafka://127.0.0.1:9/ns"))
    assert found.store is None
    assert found.limits.stored_payload_bytes_max == 0


@pytest.mark.parametrize("how", ["code", "environment"])
def test_a_store_that_is_named(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for given, kind, where in (
        (str(tmp_path), FolderStore, f"{tmp_path}/shop"),
        (f"file://{tmp_path}", FolderStore, f"{tmp_path}/shop"),
        ("s3://bucket/prefix/", ObjectStore, "s3://bucket/prefix/shop"),
    ):
        monkeypatch.setenv("PERDURE_PAYLOAD_STORE", "/elsewhere" if how == "code" else given)
        payloads = Payloads(store=given) if how == "code" else None
        store = vault(App("shop", log="kafka://127.0.0.1:9/ns", payloads=payloads)).store
        assert isinstance(store, kind)
        assert store.where == where


def test_keys_and_compression_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERDURE_PAYLOAD_KEYS", f"new:{KEY}, old:{KEY}")
    monkeypatch.setenv("PERDURE_PAYLOAD_COMPRESSION", "zstd")
    found = vault(App("a", log="memory:"))
    made = found.seal(b'"' + b"a" * 1_000 + b'"')
    assert made.startswith(b"\0perdure/1 application/json zstd aesgcm:new\n")
    plus = vault(App("a", log="memory:", payloads=Payloads(codecs=[Zstd(level=9)])))
    assert plus.encrypts  # the environment's keys hold beside codecs of the code


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PERDURE_PAYLOAD_KEYS", "", "has to be like"),
        ("PERDURE_PAYLOAD_KEYS", KEY, "has to be like"),
        ("PERDURE_PAYLOAD_KEYS", f"a:{KEY},a:{KEY}", "each id once"),
        ("PERDURE_PAYLOAD_KEYS", "a:c2hvcnQ=", "32 random bytes"),
        ("PERDURE_PAYLOAD_KEYS", f"k:{KEY}", "encrypts by its code"),
        ("PERDURE_PAYLOAD_COMPRESSION", "gzip", "use zstd, or none"),
        ("PERDURE_PAYLOAD_STORE", "ftp://host/x", "is no store of payloads"),
    ],
)
def test_what_is_refused(name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    codecs: list[Any] = [AesGcm({"k": KEY})] if "by its code" in said else []
    with pytest.raises(UsageError, match=said) as raised:
        vault(App("a", log="memory:", payloads=Payloads(codecs=codecs)))
    assert KEY not in str(raised.value)
    assert KEY not in repr(raised.value.__cause__)


@pytest.mark.parametrize(
    ("package", "make"), [("zstandard", Zstd), ("cryptography", lambda: AesGcm({"k": KEY})), ("obstore", lambda: ObjectStore("s3://b/p"))]
)  # fmt: skip
def test_a_package_that_is_missing(package: str, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=r"pip install \"perdure\["):
        make()


@pytest.mark.asyncio
async def test_a_worker_does_not_start_without_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERDURE_PAYLOAD_KEYS", "nonsense")
    app = App("a", log="memory:")
    with pytest.raises(UsageError, match="PERDURE_PAYLOAD_KEYS"):
        async with app.worker():
            pass
    with pytest.raises(UsageError, match="PERDURE_PAYLOAD_KEYS"):
        await app.send("a", {})
