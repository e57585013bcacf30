"""A store that tests write to, where obstore and moto are installed."""

import pytest


@pytest.fixture(scope="session")
def _server():
    pytest.importorskip("obstore", reason="needs the extra store (obstore)")
    for module in ("moto", "flask", "flask_cors"):
        pytest.importorskip(module, reason="needs moto's server, which speaks S3 (extra dev)")
    from helpers.object_server import ObjectServer

    server = ObjectServer()
    yield server
    server.close()


@pytest.fixture
def server(_server, monkeypatch):
    """An S3 server with an empty bucket, which the environment names."""
    _server.clear()
    for name, value in _server.environment.items():
        monkeypatch.setenv(name, value)
    return _server
