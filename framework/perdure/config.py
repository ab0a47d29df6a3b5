"""Settings from the environment, and where the embedded log is found."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from perdure.core.limits import DEFAULT_LIMITS, Limits
from perdure.errors import UsageError
from perdure.payloads.settings import Payloads, vault_of
from perdure.payloads.vault import Vault

if TYPE_CHECKING:
    from perdure.logs.kafka.registry import SchemaRegistry

ROOT_MARKS = (".perdure", "pyproject.toml", ".git")
EMBEDDED = Path(".perdure") / "log.db"


class Settings(BaseSettings):
    """What `PERDURE_…` variables say."""

    model_config = SettingsConfigDict(env_prefix="PERDURE_", extra="ignore")

    log: str | None = None
    """`PERDURE_LOG`: the log's URL."""
    payload_store: str | None = None
    """`PERDURE_PAYLOAD_STORE`: where large results are kept, as a folder or a URL."""
    payload_keys: SecretStr | None = None
    """`PERDURE_PAYLOAD_KEYS`: `id:base64,id:base64`, the current key first; values are encrypted then."""
    payload_compression: str | None = None
    """`PERDURE_PAYLOAD_COMPRESSION`: `zstd` or `none`."""


def project_root(start: Path | None = None) -> Path:
    """The nearest folder upward that holds `.perdure`, `pyproject.toml` or `.git`; else the start itself.

    So a script and `perdure dev` in different folders of one project find the same log.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if any((folder / mark).exists() for mark in ROOT_MARKS):
            return folder
    return here


def log_url(explicit: str | None = None) -> str:
    """The URL of the log: what was given, else `PERDURE_LOG`, else the embedded file of the project."""
    if explicit is not None:
        return explicit
    configured = Settings().log
    return configured or f"sqlite:///{project_root() / EMBEDDED}"


def payload_vault(payloads: Payloads | None, app: str, log: object, limits: Limits = DEFAULT_LIMITS) -> Vault:
    """What an app does with its payloads: as it says itself, and as `PERDURE_PAYLOAD_…` do. Raises UsageError.

    Commands that know no app's code go by the environment alone.
    """
    found = Settings()
    keys = None if found.payload_keys is None else found.payload_keys.get_secret_value()
    return vault_of(
        payloads,
        app=app,
        log=log,
        limits=limits,
        store=found.payload_store,
        keys=keys,
        compression=found.payload_compression,
    )


def schema_registry() -> SchemaRegistry | None:
    """The Schema Registry that `PERDURE_SCHEMA_REGISTRY_URL` names, if it is set. Raises UsageError.

    All options of confluent-kafka's client pass through: `PERDURE_SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO=user:password`,
    `…_SSL_CA_LOCATION`, `…_SSL_CERTIFICATE_LOCATION`, `…_BEARER_AUTH_TOKEN`. None is ever shown.
    """
    if not os.environ.get("PERDURE_SCHEMA_REGISTRY_URL"):
        return None
    try:
        from perdure.logs.kafka.registry import registry_from_environment
    except ImportError as error:
        raise UsageError(
            'a Schema Registry needs the Kafka client: pip install "perdure[registry]"'
        ) from error
    return registry_from_environment()
