"""A real S3 server on this machine (moto's), whose requests may be refused on their way."""

import threading
from collections.abc import Callable, Iterable
from typing import Any

import httpx
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from obstore.store import from_url
from werkzeug.serving import WSGIRequestHandler, make_server

SECRET = "a-secret-that-nobody-may-read"
KEY_ID = "AKIANOBODYMAYREADTHIS"
Refuse = Callable[[str, str], str | None]
"""By method and path: the HTTP status to answer with, such as "503 Slow Down"; None to let it
through."""


class ObjectServer:
    """Serves a bucket, named `bucket`."""

    def __init__(self) -> None:
        self.refuse: Refuse = lambda method, path: None
        self.requests: list[tuple[str, str]] = []
        self._serve: Any = DomainDispatcherApplication(create_backend_app)
        self._server = make_server(
            "127.0.0.1", 0, self._answer, threaded=True, request_handler=_Quiet
        )
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.clear()

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
        }

    def clear(self) -> None:
        """Begin with an empty bucket and no refusals."""
        self.refuse = lambda method, path: None
        httpx.post(f"{self.url}/moto-api/reset").raise_for_status()
        httpx.put(f"{self.url}/bucket").raise_for_status()
        self.requests.clear()

    def put(self, name: str, data: bytes) -> None:
        """Put an object into the bucket."""
        _open_bucket().put(name, data)

    def delete(self, name: str) -> None:
        """Delete an object."""
        _open_bucket().delete(name)

    def list_names(self, prefix: str) -> list[str]:
        """The names of the objects below a prefix."""
        return [one["path"] for chunk in _open_bucket(prefix).list() for one in chunk]

    def read_objects(self, prefix: str) -> dict[str, bytes]:
        """The objects below a prefix, by their names in it, while nobody deletes one."""
        store = _open_bucket(prefix)
        return {name: bytes(store.get(name).bytes()) for name in self.list_names(prefix)}

    def close(self) -> None:
        self._server.shutdown()

    def _answer(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.requests.append((method, path))
        status = self.refuse(method, path)
        if status is None:
            return self._serve(environ, start)
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start(status, [("Content-Type", "application/xml")])
        # What servers say of a refusal holds such things.
        said = f"<Error><Code>Refused</Code><AWSAccessKeyId>{KEY_ID}</AWSAccessKeyId></Error>"
        return [said.encode()]


def _open_bucket(prefix: str = "") -> Any:
    """Open the bucket as the environment says."""
    return from_url(f"s3://bucket/{prefix}", client_options={"allow_http": True})


class _Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:
        """Print nothing."""
