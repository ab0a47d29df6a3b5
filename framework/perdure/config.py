"""Settings from the environment, and where the embedded log is found."""

from __future__ import annotations

from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict

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
