"""The objects below one prefix of an object store, by obstore. Whatever goes wrong is explained in
our own words: what servers and the library say may hold parts of credentials."""

import os
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from distill.errors import UserError, need
from distill.files.atomic import open_atomic_file
from distill.object_store.address import StoreAddress

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

T = TypeVar("T")
_SINGLE_PUT = 16 * 1024**2
"""Bytes up to which a file is one request; larger ones are put in parts and appear as a whole."""
_MOST_PARTS = 9_000
"""A file may have 10,000."""
_RETRIES: "RetryConfig" = {
    "max_retries": 4,
    "retry_timeout": timedelta(seconds=60),
    "backoff": {
        "init_backoff": timedelta(milliseconds=100),
        "max_backoff": timedelta(seconds=5),
        "base": 2,
    },
}
"""Of one request; uploads are tried again beyond it (see `Uploads`)."""
_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(InvalidAccessKeyId|SignatureDoesNotMatch)</Code>")
_NO_BUCKET = re.compile("NoSuchBucket|ContainerNotFound|bucket does not exist", re.IGNORECASE)
_ENDPOINTS = ("ENDPOINT_URL_S3", "ENDPOINT_URL", "ENDPOINT", "STORAGE_ENDPOINT", "BASE_URL")


class StoredVersion(NamedTuple):
    """The mark of an object's content: contents that differ have another etag or version; stores
    compare either or both."""

    etag: str
    version: str | None = None


class StoredObject(NamedTuple):
    """An object, named relative to the prefix."""

    name: str
    size: int
    etag: str
    modified: datetime
    version: str | None = None


class StoreFault(UserError):
    """A request that an object store did not do.

    Args:
        lasting: whether it would fail again at once: no such bucket, or no permission.
    """

    def __init__(self, where: str, what: str, remedy: str, lasting: bool) -> None:
        super().__init__(where, what, remedy)
        self.lasting = lasting


class ObjectChangedError(Exception):
    """An object is not, or not any more, the one that the request was for."""


class ObjectFolder:
    """The objects below a prefix.

    Raises:
        UserError: if obstore is not installed, or the environment lacks what the store needs.
    """

    def __init__(self, address: StoreAddress) -> None:
        need("obstore", "store")
        from obstore.store import from_url

        self.address = address
        allow_http = _is_http_allowed(address)
        _check_endpoint(address, allow_http)
        client: ClientConfig = {"timeout": "10 minutes", "allow_http": allow_http}
        self._store: Any = self._use(
            lambda: from_url(str(address), client_options=client, retry_config=_RETRIES)
        )

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """List the objects whose names begin with a prefix that ends at a slash, in no order."""
        chunks = iter(self._store.list(prefix.rstrip("/") or None, chunk_size=1000))
        while (chunk := self._use(lambda: next(chunks, None), False)) is not None:
            for one in chunk:
                yield _describe(str(one["path"]), one)

    def find(self, name: str) -> StoredObject | None:
        """Find an object; None if there is none of exactly this name."""
        try:
            one = self._use(lambda: self._store.head(name))
        except ObjectChangedError:
            return None
        return _describe(name, one)

    def read(self, name: str) -> tuple[bytes, StoredObject] | None:
        """Read an object's bytes; None if there is none."""

        def get() -> tuple[bytes, Any]:
            result = self._store.get(name)
            return bytes(result.bytes()), result.meta

        try:
            data, meta = self._use(get)
        except ObjectChangedError:
            return None
        return data, _describe(name, meta)

    def put(self, name: str, data: bytes) -> str:
        """Write an object in one request. Returns its etag."""
        return self._put(lambda: self._store.put(name, data, use_multipart=False)).etag

    def put_file(self, name: str, path: Path) -> str:
        """Write a file as an object, which appears whole or not at all. Returns its etag.

        Raises:
            FileNotFoundError: if the file is gone.
        """
        if path.stat().st_size <= _SINGLE_PUT:
            return self.put(name, path.read_bytes())
        with path.open("rb") as file:
            size = max(_SINGLE_PUT, path.stat().st_size // _MOST_PARTS)
            several = {"use_multipart": True, "chunk_size": size, "max_concurrency": 2}
            return self._put(lambda: self._store.put(name, file, **several)).etag

    def create(self, name: str, data: bytes) -> StoredVersion:
        """Write an object where there is none.

        Raises:
            ObjectChangedError: if there is one.
        """
        return self._put(lambda: self._store.put(name, data, mode="create"))

    def replace(self, name: str, data: bytes, before: StoredVersion) -> StoredVersion:
        """Replace this version of an object.

        Raises:
            ObjectChangedError: if it is another one, or gone.
        """
        mode = {"e_tag": before.etag}
        if before.version is not None:
            mode["version"] = before.version
        return self._put(lambda: self._store.put(name, data, mode=mode), may_miss=True)

    def fetch(self, name: str, path: Path) -> str:
        """Write an object into a file, which appears whole or not at all, with the time of the
        object. Returns its etag.

        Raises:
            ObjectChangedError: if it is gone.
            UserError: if it ends early, or the disk is full.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        result = self._use(lambda: self._store.get(name))
        with open_atomic_file(path) as beside, beside.open("wb") as file:
            chunks = iter(result.stream(min_chunk_size=8 * 1024**2))
            while (chunk := self._use(lambda: next(chunks, None))) is not None:
                file.write(chunk)
            if file.tell() != result.meta["size"]:
                raise self._make_fault("ended before all bytes of an object had come", False)
        written = result.meta["last_modified"].timestamp()
        os.utime(path, (written, written))
        return str(result.meta["e_tag"])

    def rename(self, source: str, target: str) -> None:
        """Move an object within the store; one that is gone is left out."""
        try:
            self._use(lambda: self._store.rename(source, target))
        except ObjectChangedError:
            return

    def delete(self, name: str) -> None:
        """Delete an object; one that is gone is left out."""
        try:
            self._use(lambda: self._store.delete(name))
        except ObjectChangedError:
            return

    def _put(self, request: Callable[[], Any], may_miss: bool = False) -> StoredVersion:
        result = self._use(request, may_miss)
        return StoredVersion(str(result["e_tag"]), result["version"])

    def _use(self, request: Callable[[], T], may_miss: bool = True) -> T:
        """Do a request, or a step of one.

        Args:
            may_miss: whether not to be found may be the object's; else it is the bucket's.

        Raises:
            ObjectChangedError: if the object is not there, or not the expected one.
            StoreFault: for everything else that goes wrong.
        """
        from obstore.exceptions import (
            AlreadyExistsError,
            BaseError,
            InvalidPathError,
            PreconditionError,
        )

        try:
            return request()
        except (AlreadyExistsError, PreconditionError):
            raise ObjectChangedError from None
        except InvalidPathError:
            raise StoreFault(
                str(self.address),
                "has an object, or was to have one, with .., an empty part or a control character "
                "in its name",
                "delete that object, or rename that file",
                lasting=True,
            ) from None
        except (BaseError, FileNotFoundError, ValueError) as fault:
            missing = isinstance(fault, FileNotFoundError) and not _NO_BUCKET.search(str(fault))
            if missing and may_miss:
                raise ObjectChangedError from None
            raise self._explain(str(fault)) from None

    def _explain(self, said: str) -> StoreFault:
        """Explain a fault by the few words that are taken from what was said of it."""
        status = _STATUS.search(said)
        code = _CODE.search(said)
        number = int(status[1]) if status else 0
        if number == 404:
            return self._make_fault("is in a bucket that does not exist", True)
        if number in (401, 403) or code:
            reason = f"{number}, {code[1]}" if code else str(number)
            return self._make_fault(
                f"may not be read and written with the credentials of the environment (HTTP "
                f"{reason})",
                True,
            )
        if any(words in said for words in ("169.254.169.254", "metadata.google", "must be spec")):
            return self._make_fault("needs credentials, and the environment has none", True)
        if "service account file" in said:
            return self._make_fault(
                "needs credentials, and GOOGLE_APPLICATION_CREDENTIALS names no file of them that "
                "can be read",
                True,
            )
        if number:
            return self._make_fault(f"answers with HTTP status {number}", False)
        return self._make_fault("cannot be reached", False)

    def _make_fault(self, what: str, lasting: bool) -> StoreFault:
        names = self.address.variables
        remedy = {
            "AWS": "check the bucket's name, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION "
            "and, for a server of your own, AWS_ENDPOINT_URL",
            "GOOGLE": "check the bucket's name and GOOGLE_APPLICATION_CREDENTIALS",
            "AZURE": "check the container's name, AZURE_STORAGE_ACCOUNT_NAME and "
            "AZURE_STORAGE_ACCOUNT_KEY",
        }[names]
        kept = "; what is done is in the run's folder, and the same command continues"
        return StoreFault(str(self.address), what, remedy + kept, lasting)


def _describe(name: str, meta: Any) -> StoredObject:
    modified, version = meta["last_modified"], meta["version"]
    return StoredObject(name, int(meta["size"]), str(meta["e_tag"]), modified, version)


def _is_http_allowed(address: StoreAddress) -> bool:
    return os.environ.get(f"{address.variables}_ALLOW_HTTP", "").lower() in ("1", "true", "yes")


def _check_endpoint(address: StoreAddress, allow_http: bool) -> None:
    """Refuse an endpoint without TLS that nobody has allowed.

    Raises:
        UserError: naming the variable.
    """
    for name in (f"{address.variables}_{end}" for end in _ENDPOINTS):
        if os.environ.get(name, "").startswith("http://") and not allow_http:
            raise UserError(
                name,
                "names a server without encryption",
                f"write https://, or set {address.variables}_ALLOW_HTTP=true to send the corpus "
                "and the credentials in the clear",
            )
