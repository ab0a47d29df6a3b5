"""What an app says about its payloads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from perdure.authoring.functions import Function
from perdure.core.limits import Limits
from perdure.errors import UsageError
from perdure.payloads.aesgcm import AesGcm
from perdure.payloads.chain import Chain, PayloadCodec
from perdure.payloads.folder import FolderStore
from perdure.payloads.objects import ObjectStore
from perdure.payloads.store import MemoryStore, PayloadStore
from perdure.payloads.vault import Vault
from perdure.payloads.zstd import Zstd

__all__ = ["Payloads", "check_functions", "keys_of", "store_of", "vault_of"]

_BUCKETS = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "adl")


@dataclass(frozen=True, slots=True)
class Payloads:
    """How the values of an app go into its log: `App("shop", payloads=Payloads(codecs=[Zstd(), AesGcm(keys)]))`.

    `codecs` are applied to each value and error in this order, and undone in the other; `readers` are only read with.
    `store` keeps results that are too large for a record: a `PayloadStore`, a folder, or a URL (`file:///…`,
    `s3://bucket/prefix`), to which the name of the app is added. Without it, it is what `PERDURE_PAYLOAD_STORE` says,
    else for a log in a file the folder beside it, `log.db.payloads`.
    """

    codecs: Sequence[PayloadCodec] = ()
    store: PayloadStore | str | Path | None = None
    readers: Sequence[PayloadCodec] = ()


def vault_of(
    payloads: Payloads | None,
    *,
    app: str,
    log: object,
    limits: Limits,
    store: str | None = None,
    keys: str | None = None,
    compression: str | None = None,
) -> Vault:
    """The vault of an app: what it says, and what the environment does (`store`, `keys`, `compression`).

    Raises UsageError for what cannot be, and where both say how to encrypt.
    """
    payloads = payloads or Payloads()
    codecs = list(payloads.codecs)
    if compression not in (None, "", "none", "zstd"):
        raise UsageError(f"PERDURE_PAYLOAD_COMPRESSION={compression!r:.80}: use zstd, or none")
    if compression == "zstd" and not any(codec.name == "zstd" for codec in codecs):
        codecs.insert(0, Zstd())
    if keys is not None:
        if any(codec.encrypts for codec in codecs):
            raise UsageError(
                "this app encrypts by its code, and PERDURE_PAYLOAD_KEYS is set too: it would not be clear which keys "
                "are meant. Leave the one or the other away"
            )
        codecs.append(keys_of(keys))
    given = payloads.store if payloads.store is not None else store or None
    return Vault(Chain(codecs, payloads.readers), store_of(given, app=app, log=log), limits)


def store_of(given: PayloadStore | str | Path | None, *, app: str, log: object) -> PayloadStore | None:
    """The store that is meant; None where nobody has named one and none can be guessed, since several machines may
    work on the log."""
    if given is None:
        return _beside(log)
    if not isinstance(given, str | Path):
        return given
    text = str(given)
    scheme = urlsplit(text).scheme if "://" in text else ""
    if scheme in _BUCKETS:
        return ObjectStore(f"{text.rstrip('/')}/{app}")
    if scheme == "file":
        return FolderStore(Path(unquote(urlsplit(text).path)) / app)
    if scheme or not text:
        raise UsageError(
            f"{text!r:.80} is no store of payloads; use a folder, file:///folder, s3://bucket/prefix, gs:// or az://"
        )
    return FolderStore(Path(text).expanduser().absolute() / app)


def _beside(log: object) -> PayloadStore | None:
    """The store that comes with a log which one machine has for itself."""
    if not isinstance(log, str):
        return MemoryStore()
    parts = urlsplit(log)
    if parts.scheme == "memory":
        return MemoryStore()
    if parts.scheme == "sqlite":
        file = Path(unquote(parts.path[1:])).absolute()
        return FolderStore(file.with_name(file.name + ".payloads"))
    return None


def check_functions(functions: Iterable[Function[Any, Any]], vault: Vault) -> None:
    """Raises UsageError for a function that asks for what nobody can do with encrypted events: which events cancel a
    run is found when the run is made, by whoever reads the log, and not all of them have the keys."""
    for function in functions if vault.encrypts else ():
        for cancel in function.cancel_on:
            if cancel.own.startswith("data."):
                raise UsageError(
                    f"function {function.id!r}, cancel_on: CancelOn({cancel.event!r}, match={cancel.path!r}) looks "
                    "into the data of the event that begins a run, which this app encrypts; match by the key of the "
                    "events, match='key', or wait for the event in the body"
                )


def keys_of(text: str) -> AesGcm:
    """Keys as the environment has them: `id:base64,id:base64`, the current one first. Raises UsageError."""
    keys: dict[str, bytes | str] = {}
    for part in text.split(","):
        name, colon, secret = part.strip().partition(":")
        if not colon or name in keys:  # without the part itself: it may be a secret
            raise UsageError(
                "PERDURE_PAYLOAD_KEYS has to be like 2026-11:BASE64,2026-05:BASE64, each id once, the current key first"
            )
        keys[name] = secret
    return AesGcm(keys)
