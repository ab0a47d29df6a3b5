"""A store of payloads in an object store, by obstore: S3 and what speaks like it, Google Cloud Storage, Azure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from perdure.errors import PayloadStoreError, UsageError
from perdure.payloads.store import Stored, missing

__all__ = ["ObjectStore"]


class ObjectStore:
    """Objects in a bucket: `ObjectStore("s3://bucket/prefix", endpoint="https://minio.internal", region="eu-1")`.

    `url` begins with s3://, gs:// or az://; `options` go to obstore as they are. Without them obstore reads the
    usual places: `AWS_ACCESS_KEY_ID` and its like, or the machine's role. Rules of the bucket that remove objects by
    age must leave those alone that the log still refers to. Needs `pip install "perdure[objects]"`.
    """

    def __init__(self, url: str, **options: Any) -> None:
        try:
            import obstore
            from obstore.store import from_url
        except ImportError as error:
            raise UsageError(f'{url!r} needs the package obstore: pip install "perdure[objects]"') from error
        self._obstore: Any = obstore
        self._url = url
        try:
            self._store: Any = from_url(url, **options)
        except Exception as error:
            raise UsageError(f"the store of payloads {url!r} cannot be used: {_said(error)}") from error

    def __repr__(self) -> str:
        return f"ObjectStore({self._url!r})"

    @property
    def where(self) -> str:
        """Its URL."""
        return self._url

    def put(self, name: str, data: bytes) -> None:
        """Puts an object."""
        try:
            self._obstore.put(self._store, name, data)
        except Exception as error:
            raise self._refused("written", error) from error

    def get(self, name: str) -> bytes:
        """Gets an object."""
        try:
            return bytes(self._obstore.get(self._store, name).bytes())
        except FileNotFoundError:
            raise missing(name, self.where) from None
        except Exception as error:
            raise self._refused("read", error) from error

    def names(self) -> Iterator[Stored]:
        """All objects."""
        try:
            for page in self._obstore.list(self._store):
                for found in page:
                    name: str = found["path"]
                    if name.startswith("sha256-"):
                        yield Stored(name, found["size"], found["last_modified"].timestamp())
        except Exception as error:
            raise self._refused("read", error) from error

    def remove(self, name: str, before: float) -> bool:
        """Removes an object, unless it was put again since; what is put in the same moment may be lost by that."""
        try:
            if self._obstore.head(self._store, name)["last_modified"].timestamp() >= before:
                return False
            self._obstore.delete(self._store, name)
        except FileNotFoundError:
            return True
        except Exception as error:
            raise self._refused("written", error) from error
        return True

    def _refused(self, what: str, error: Exception) -> PayloadStoreError:
        return PayloadStoreError(f"the store of payloads at {self._url} cannot be {what}: {_said(error)}")


def _said(error: Exception) -> str:
    """The first line: below it, obstore shows how it is made inside."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
