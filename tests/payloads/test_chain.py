"""The codec chain: what goes in comes out, and nothing that was changed, cut or locked comes out as something else."""

from __future__ import annotations

import os
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.core import sealed
from perdure.errors import PayloadDamaged, PayloadError, PayloadLocked, UsageError
from perdure.payloads.aesgcm import AesGcm
from perdure.payloads.chain import Chain
from perdure.payloads.zstd import Zstd

OLD, NEW, OTHER = (bytes([n]) * 32 for n in (1, 2, 3))
MAX = 1 << 20
BOTH = Chain([Zstd(min_bytes=0), AesGcm({"new": NEW, "old": OLD})])
CHAINS = {
    "none": Chain(),
    "zstd": Chain([Zstd(min_bytes=16)]),
    "aes": Chain([AesGcm({"new": NEW})]),
    "both": BOTH,
}
json_bytes = st.one_of(
    st.binary(max_size=2_000).map(lambda data: b'"' + data.hex().encode() + b'"'),
    st.integers(0, 30_000).map(lambda n: b'"' + b"a" * n + b'"'),
    st.sampled_from([b"null", b"{}", b"1"]),
)


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
@given(data=json_bytes)
def test_what_goes_in_comes_out(chain: Chain, data: bytes) -> None:
    assert chain.open(chain.seal(data), MAX) == data


@given(data=json_bytes)
def test_what_is_encrypted_shows_nothing(data: bytes) -> None:
    made = BOTH.seal(data)
    assert made != BOTH.seal(data)  # equal values look different
    assert len(data) < 8 or data[1:-1] not in made


@given(data=json_bytes, where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_bit_that_is_flipped_is_seen(data: bytes, where: float, bit: int) -> None:
    made = bytearray(BOTH.seal(data))
    made[int(where * len(made))] ^= 1 << bit
    try:
        opened = BOTH.open(bytes(made), MAX)
    except PayloadError:
        return
    # Without its first byte it is no sealed payload any more, and no JSON either: who reads it says so.
    assert made[0] != 0
    assert opened == bytes(made)


@given(data=json_bytes, end=st.floats(0, 1, exclude_max=True))
def test_one_that_was_cut_is_seen(data: bytes, end: float) -> None:
    made = BOTH.seal(data)
    cut = made[: max(int(end * len(made)), 1)]
    with pytest.raises(PayloadError):
        BOTH.open(cut, MAX)


@given(data=json_bytes, where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_compressed_alone_has_a_checksum(data: bytes, where: float, bit: int) -> None:
    chain = Chain([Zstd(min_bytes=0)])
    made = bytearray(chain.seal(data))
    if not sealed.is_sealed(bytes(made)):
        return
    body = sealed.header_of(bytes(made)).body
    made[body + int(where * (len(made) - body))] ^= 1 << bit
    try:
        assert chain.open(bytes(made), MAX) == data  # a bit of the frame that says nothing
    except PayloadDamaged:
        pass


def test_rotated_keys() -> None:
    before = Chain([AesGcm({"old": OLD})]).seal(b'"x"')
    after = Chain([AesGcm({"new": NEW, "old": OLD})])
    assert after.open(before, MAX) == b'"x"'
    assert sealed.header_of(after.seal(b'"x"')).codecs == (("aesgcm", "new"),)
    ready = Chain(
        [AesGcm({"new": NEW, "old": OLD}, current="old")]
    )  # every process, before any writes with it
    assert sealed.header_of(ready.seal(b'"x"')).codecs == (("aesgcm", "old"),)
    assert ready.open(after.seal(b'"y"'), MAX) == b'"y"'
    with pytest.raises(PayloadLocked, match=r"the key 'old', which this process has not \(it has new\)"):
        Chain([AesGcm({"new": NEW})]).open(before, MAX)


def test_another_secret_under_the_same_id() -> None:
    made = Chain([AesGcm({"k": OLD})]).seal(b'"x"')
    with pytest.raises(PayloadDamaged, match="or another secret has that id here"):
        Chain([AesGcm({"k": OTHER})]).open(made, MAX)


def test_a_codec_that_is_not_here() -> None:
    made = Chain([Zstd(min_bytes=0)]).seal(b'"' + b"a" * 100 + b'"')
    with pytest.raises(PayloadLocked, match="the codec 'zstd', which this process has not"):
        Chain().open(made, MAX)
    assert Chain(readers=[Zstd()]).open(made, MAX) == b'"' + b"a" * 100 + b'"'


def test_what_stands_before_it_belongs_to_it() -> None:
    """The id of another key, or another order of codecs, before the same bytes."""
    both = AesGcm({"a": OLD, "b": OLD})
    made = Chain([both]).seal(b'"x"')
    with pytest.raises(PayloadDamaged):
        Chain([both]).open(made.replace(b"aesgcm:a", b"aesgcm:b"), MAX)
    with pytest.raises(PayloadDamaged):
        Chain([Zstd(), both]).open(made.replace(b"json aesgcm", b"json zstd aesgcm"), MAX)


def test_a_small_payload_that_unpacks_to_a_large_one_is_refused() -> None:
    chain = Chain([Zstd()])
    made = chain.seal(b'"' + b"0" * (4 << 20) + b'"')
    assert len(made) < 1_000
    with pytest.raises(PayloadDamaged, match="says that it has 4,194,306 bytes"):
        chain.open(made, MAX)


class Lazy:
    """Says that it encrypts, and does not always."""

    name, argument, encrypts = "lazy", "", True

    def encode(self, data: bytes, bound: bytes) -> bytes | None:
        return None

    def decode(self, data: bytes, argument: str, bound: bytes, size_max: int) -> bytes:
        return data


def test_nothing_is_written_in_clear_text_by_a_chain_that_encrypts() -> None:
    with pytest.raises(UsageError, match="has left a payload as it was"):
        Chain([Lazy()]).seal(b'"x"')
    with pytest.raises(UsageError, match="what is encrypted does not compress"):
        Chain([AesGcm({"k": OLD}), Zstd()])


class Reversing:
    """A codec of a user's own."""

    name, argument, encrypts = "reversed", "v1", False

    def encode(self, data: bytes, bound: bytes) -> bytes | None:
        return data[::-1]

    def decode(self, data: bytes, argument: str, bound: bytes, size_max: int) -> bytes:
        return data[::-1]


def test_a_codec_of_ones_own() -> None:
    chain = Chain([Reversing(), AesGcm({"k": OLD})])
    assert chain.open(chain.seal(b"[1,2]"), MAX) == b"[1,2]"
    assert chain.seal(b"[1,2]").startswith(b"\0perdure/1 application/json reversed:v1 aesgcm:k\n")


@pytest.mark.parametrize(
    ("keys", "current", "said"),
    [
        ({}, None, "at least one key"),
        ({"k": b"short"}, None, "32 random bytes"),
        ({"k": "nöt base64"}, None, "no base64"),
        ({"k": b64encode(b"x" * 16).decode()}, None, "32 random bytes"),
        ({"a b": OLD}, None, "key id 'a b'"),
        ({"k": OLD}, "j", "the keys are k"),
    ],
)
def test_bad_keys(keys: dict[str, Any], current: str | None, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        AesGcm(keys, current=current)


def test_no_secret_is_shown() -> None:
    secret = os.urandom(32)
    shown = repr(AesGcm({"k": b64encode(secret).decode()}))
    assert shown == "AesGcm(keys k; current k)"


@pytest.mark.parametrize(
    "head",
    [b"\0", b"\0perdure/2 application/json\nx", b"\0perdure/1 application/json", b"\0perdure/1 \n",
     b"\0perdure/1 application/json @sha256-12:3\n", b"\0perdure/1 application/json zs\xfftd\n",
     b"\0perdure/1 application/json @sha256-" + b"a" * 64 + b":3\nmore",
     b"\0perdure/1 application/json " + b"zstd " * 300 + b"\n"],
)  # fmt: skip
def test_heads_that_cannot_be(head: bytes) -> None:
    with pytest.raises(PayloadDamaged):
        sealed.header_of(head)


def test_another_content_type_is_told_of() -> None:
    with pytest.raises(PayloadLocked, match="of the type 'application/cbor'"):
        Chain().open(b"\0perdure/1 application/cbor\n\xa0", MAX)


@given(data=json_bytes)
def test_nested_in_json(data: bytes) -> None:
    made = BOTH.seal(data)
    assert sealed.unnested(sealed.nested(made)) == made
    assert sealed.unnested({"$sealed": data.decode()}) is None
    assert sealed.unnested({"$sealed": 1}) is sealed.unnested({}) is sealed.unnested(1) is None
