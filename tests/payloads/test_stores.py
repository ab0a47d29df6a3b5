"""Stores of payloads: one contract for all, and what a disk can do to the folder."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure.core.limits import Limits
from perdure.errors import PayloadDamaged, PayloadMissing, PayloadStoreError, PayloadTooLarge, UsageError
from perdure.payloads.aesgcm import AesGcm
from perdure.payloads.chain import Chain
from perdure.payloads.folder import FolderStore
from perdure.payloads.objects import ObjectStore
from perdure.payloads.store import MemoryStore, PayloadStore
from perdure.payloads.vault import Vault
from tests.payloads.fake_s3 import FakeS3

A = "sha256-" + "a" * 64
B = "sha256-" + "b" * 64
SOON = 2.0**40


@pytest.fixture(scope="module")
def s3() -> Iterator[FakeS3]:
    with FakeS3() as server:
        yield server


@pytest.fixture(params=["memory", "folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, s3: FakeS3) -> PayloadStore:
    if request.param == "memory":
        return MemoryStore()
    if request.param == "folder":
        return FolderStore(tmp_path / "payloads")
    s3.objects.clear()
    return s3.store()


def test_the_contract(store: PayloadStore) -> None:
    assert isinstance(store, PayloadStore)
    assert list(store.names()) == []
    if not isinstance(store, FolderStore):
        with pytest.raises(PayloadMissing, match=A):
            store.get(A)
    before = time.time() - 2
    store.put(A, b"x" * 100_000)
    store.put(A, b"x" * 100_000)
    store.put(B, b"")
    with pytest.raises(PayloadMissing, match="Bring it back from a backup"):
        store.get("sha256-" + "c" * 64)
    assert store.get(A) == b"x" * 100_000
    assert store.get(B) == b""
    assert sorted((found.name, found.size) for found in store.names()) == [(A, 100_000), (B, 0)]
    assert all(before < found.written < time.time() + 2 for found in store.names())
    assert not store.remove(A, before)  # put since
    assert store.get(A)
    assert store.remove(A, SOON)
    assert store.remove(A, SOON)  # it is gone already
    assert [found.name for found in store.names()] == [B]


def test_a_folder_that_is_not_there_proves_nothing(tmp_path: Path) -> None:
    with pytest.raises(PayloadStoreError, match="is not there; mount or make it"):
        FolderStore(tmp_path / "mnt").get(A)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PayloadStoreError, match="cannot be"):
        FolderStore(tmp_path / "file" / "payloads").put(A, b"x")


def test_only_the_owner_reads_it(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "payloads")
    store.put(A, b"x")
    found = list((tmp_path / "payloads").rglob("*"))
    assert {oct(path.stat().st_mode & 0o777) for path in found} == {"0o700", "0o600"}


def test_an_object_of_another_size_is_written_again(tmp_path: Path) -> None:
    """A disk that was full, or a copy that was cut."""
    store = FolderStore(tmp_path)
    store.put(A, b"whole")
    (path,) = tmp_path.rglob("sha256-*")
    path.write_bytes(b"who")
    store.put(A, b"whole")
    assert store.get(A) == b"whole"


def test_what_killed_writers_left_is_swept(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put(A, b"x")
    shelf = next(tmp_path.rglob("sha256-*")).parent
    old, young = shelf / f"{B}.1-ab.coming", shelf / f"{B}.2-ab.coming"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    assert [found.name for found in store.names()] == [A]
    assert (old.exists(), young.exists()) == (False, True)


def test_a_put_renews_while_another_removes(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    over = threading.Event()
    gone = 0

    def removing() -> None:
        nonlocal gone
        while not over.is_set():
            gone += store.remove(A, time.time() - 60)

    thread = threading.Thread(target=removing)
    thread.start()
    try:
        for _ in range(300):
            store.put(A, b"x")
            for path in tmp_path.rglob("sha256-*"):
                try:
                    os.utime(path, (1, 1))
                except FileNotFoundError:
                    pass
            store.put(A, b"x")
            assert store.get(A) == b"x"
    finally:
        over.set()
        thread.join()


# --- the vault ------------------------------------------------------------------------------------------------------

SMALL = Limits(payload_bytes_max=200, stored_payload_bytes_max=10_000)


def test_large_ones_go_to_the_store(store: PayloadStore) -> None:
    vault = Vault(Chain([AesGcm({"k": b"k" * 32})]), store, SMALL)
    for size in (2, 50, 100, 500, 9_000):
        data = b'"' + b"a" * (size - 2) + b'"'
        packed = vault.pack(data, "the value")
        assert len(packed.recorded) <= 400
        assert bool(packed.name) == (size > 150)
        vault.keep(packed)
        assert vault.load(packed.recorded) == data
    with pytest.raises(
        PayloadTooLarge, match=r"the value has 10,001 bytes.*stored_payload_bytes_max = 10,000"
    ):
        vault.pack(b"0" * 10_001, "the value")


def test_without_a_store_the_error_names_limit_and_remedy() -> None:
    with pytest.raises(
        PayloadTooLarge, match=r"payload_bytes_max = 200; .* or give this app a store of payloads"
    ):
        Vault(limits=SMALL).pack(b"0" * 201, "the result")


@pytest.mark.parametrize("change", ["cut", "flipped", "longer"])
def test_an_object_that_changed_is_seen(tmp_path: Path, change: str) -> None:
    vault = Vault(None, FolderStore(tmp_path), SMALL)  # also without encryption
    packed = vault.pack(b"1" * 1_000, "the value")
    vault.keep(packed)
    (path,) = tmp_path.rglob("sha256-*")
    data = bytearray(path.read_bytes())
    match change:
        case "cut":
            del data[-1]
        case "flipped":
            data[500] ^= 4
        case _:
            data += b"1"
    path.write_bytes(data)
    with pytest.raises(PayloadDamaged, match="backup of the store"):
        vault.load(packed.recorded)


def test_a_put_again_overwrites_itself(tmp_path: Path) -> None:
    vault = Vault(Chain([AesGcm({"k": b"k" * 32})]), FolderStore(tmp_path), SMALL)
    packed = vault.pack(b"1" * 1_000, "the value")
    for _ in range(3):
        vault.keep(packed)
    assert len(list(tmp_path.rglob("sha256-*"))) == 1


# --- object stores --------------------------------------------------------------------------------------------------


def test_a_bucket_that_is_away_is_told_and_can_be_tried_again(s3: FakeS3) -> None:
    store = s3.store()
    store.put(A, b"x")
    s3.failing = True
    try:
        for call in (lambda: store.put(B, b"x"), lambda: store.get(A), lambda: list(store.names())):
            with pytest.raises(PayloadStoreError, match="s3://bucket/shop cannot be"):
                call()
    finally:
        s3.failing = False
    assert store.get(A) == b"x"


@pytest.mark.parametrize("url", ["nowhere", "s4://bucket/x"])
def test_no_url_of_a_bucket(url: str) -> None:
    with pytest.raises(UsageError, match="cannot be used"):
        ObjectStore(url)
