"""Proxies and certificates of the environment: used, or refused in words; this machine is
asked without."""

import pytest
from helpers.fake_server import serve

from distill.errors import UserError
from distill.llm import Sampling
from distill.llm.http.engine import HTTPEngine
from distill.recipe import LanguageModel
from distill.remote.address import parse_address
from distill.remote.connect import Connections, find_proxy

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")


@pytest.fixture(autouse=True)
def bare(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def address(url):
    return parse_address(url, "llm.{}".format)


BAD = {
    "HTTP_PROXY": [
        "http://",
        "gopher://proxy:70",
        "http://proxy:port",
        "http://[::1",
        "://",
        "a b",
    ],
    "ALL_PROXY": ["socks://proxy:1080", "socks4://proxy:1080", "http://" + "p" * 300],
}


@pytest.mark.parametrize(("name", "url"), [(n, url) for n, urls in BAD.items() for url in urls])
@pytest.mark.bad_input("network", "HTTP_PROXY or ALL_PROXY that is no proxy", "refused by variable")
def test_proxy_that_is_none_is_refused(monkeypatch, name, url):
    monkeypatch.setenv(name, url)
    with pytest.raises(UserError, match=f"{name}: names what is no proxy"):
        Connections(address("http://server.example/v1"), {})


@pytest.mark.bad_input("network", "ALL_PROXY=socks5:// without socksio", "refused with the remedy")
def test_socks_without_its_module_is_refused_without_the_password(monkeypatch):
    monkeypatch.setenv("all_proxy", "socks5://me:hush@proxy.example:1080")
    with pytest.raises(UserError, match=r"all_proxy: names a SOCKS proxy .*socksio") as caught:
        Connections(address("https://server.example/v1"), {})
    assert "hush" not in str(caught.value)
    assert "proxy.example:1080" in str(caught.value)
    assert "server.example to NO_PROXY" in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_localhost_is_asked_without_a_proxy(monkeypatch, host):
    for name in VARIABLES[:3]:
        monkeypatch.setenv(name, "socks5://proxy.example:1080")
    assert find_proxy(address(f"http://{host}:8000/v1")) is None


def test_no_proxy_is_heeded_and_a_scheme_goes_before_all(monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "http://all.example:1")
    monkeypatch.setenv("HTTPS_PROXY", "tls.example:2")
    monkeypatch.setenv("NO_PROXY", "inside.example,10.0.0.7")
    assert find_proxy(address("http://inside.example/v1")) is None
    assert find_proxy(address("http://deep.inside.example/v1")) is None
    assert find_proxy(address("http://10.0.0.7/v1")) is None
    assert find_proxy(address("http://outside.example/v1")).url == "http://all.example:1"
    assert find_proxy(address("https://outside.example/v1")).url == "http://tls.example:2"


def test_server_of_this_machine_is_reached_in_spite_of_a_dead_proxy(monkeypatch, tmp_path):
    for name in VARIABLES[:3]:
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with serve() as server:
        settings = LanguageModel(engine="http", model="tiny-model", base_url=server.url)
        engine = HTTPEngine(settings, tmp_path / "r.sqlite", first_wait=0.002)
        assert engine.generate(["a"], [1], Sampling(5))[0].finished


@pytest.mark.bad_input("network", "HTTP_PROXY that does not answer", "named in the error")
def test_proxy_that_does_not_answer_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("HTTP_PROXY", "http://me:hush@127.0.0.1:9")
    settings = LanguageModel(
        engine="http", model="m", base_url="http://server.example/v1", retries=0
    )
    engine = HTTPEngine(settings, tmp_path / "r.sqlite", first_wait=0.002)
    with pytest.raises(UserError, match=r"the proxy http://127\.0\.0\.1:9 of HTTP_PROXY") as caught:
        engine.generate(["a"], [1], Sampling(5))
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("content", [None, "these are no certificates"])
@pytest.mark.bad_input(
    "network", "SSL_CERT_FILE that is no file of certificates", "refused by name"
)
def test_certificates_that_cannot_be_read_are_named(monkeypatch, tmp_path, content):
    file = tmp_path / "certificates.pem"
    if content:
        file.write_text(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    with pytest.raises(UserError, match=r"SSL_CERT_FILE=.*cannot be read as certificates"):
        Connections(address("https://server.example/v1"), {})
    Connections(address("http://server.example/v1"), {})  # needs none


@pytest.mark.bad_input("network", "https:// to a server without TLS", "told at once, with a remedy")
def test_server_without_tls_is_reported_at_once(tmp_path):
    with serve() as server:
        url = server.url.replace("http:", "https:")
        settings = LanguageModel(engine="http", model="m", base_url=url, retries=9)
        engine = HTTPEngine(settings, tmp_path / "r.sqlite", first_wait=60)
        with pytest.raises(UserError, match=r"no secure connection[\s\S]*http://"):
            engine.generate(["a"], [1], Sampling(5))
