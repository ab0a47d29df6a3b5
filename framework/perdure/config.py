"""Settings from the environment, and where the embedded log is found."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic_settings import BaseSettings, SettingsConfigDict

from perdure.errors import UsageError

if TYPE_CHECKING:
    from perdure.logs.kafka.registry import SchemaRegistry

ROOT_MARKS = (".perdure", "pyproject.toml", ".git")
EMBEDDED = Path(".perdure") / "log.db"


class Settings(BaseSettings):
    """What `PERDURE_…` variables say."""

    model_config = SettingsConfigDict(env_prefix="PERDURE_", extra="ignore")

    log: str | None = None
    """`PERDURE_LOG`: the log's URL."""


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
