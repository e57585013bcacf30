"""Addresses: what is one, what is shown of it, and the pause that a server asks for."""

import pytest
from click.testing import CliRunner

from distill.cli import cli
from distill.errors import UserError
from distill.recipe import LanguageModel, Retriever, load_recipe
from distill.remote.address import parse_address, parse_retry_after


def address(url):
    return parse_address(url, "llm.{}".format)


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("http://localhost:8000/v1/", "http://localhost:8000/v1/models"),
        (" https://api.example.com/v1 ", "https://api.example.com/v1/models"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1/models"),
        ("http://10.0.0.7/v1", "http://10.0.0.7/v1/models"),
        ("http://bücher.example/v1", "http://bücher.example/v1/models"),
        (
            "https://x.openai.azure.com/openai/deployments/a?api-version=2024-02-01",
            "https://x.openai.azure.com/openai/deployments/a/models?api-version=2024-02-01",
        ),
    ],
)
def test_server_addresses_are_parsed(url, asked):
    assert address(url).join("/models") == asked


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8000",
        "localhost",
        "ftp://host/v1",
        "file:///etc/passwd",
        "http://",
        "http:///v1",
        "http://:8000/v1",
        pytest.param(
            "http://[::1/v1",
            marks=pytest.mark.bad_input("server", "IPv6 without its bracket", "refused by key"),
        ),
        "http://[nonsense]/v1",
        "http://::1:8000/v1",
        pytest.param(
            "http://localhost:port/v1",
            marks=pytest.mark.bad_input("server", "a port that is a word", "refused by key"),
        ),
        "http://localhost:99999/v1",
        "http://localhost:0/v1",
        "http://localhost:-1/v1",
        "http://a..b/v1",
        pytest.param(
            f"http://{'a' * 300}/v1",
            marks=pytest.mark.bad_input("server", "a host of 300 letters", "refused by key"),
        ),
        "http://\u2024host/v1",
        "http://ho st/v1",
        "http://host/v1#part",
        "http://host\x00/v1",
        "http://host/\x1b[2Jv1",
        "http://xn--/v1",
    ],
)
@pytest.mark.parametrize("section", [LanguageModel, Retriever])
def test_addresses_that_are_none_are_refused_before_any_request(section, url):
    engine = {"engine": "http"} if section is LanguageModel and url else {}
    with pytest.raises(UserError, match=r"(llm|retriever)\.base_url") as caught:
        section(base_url=url, **engine)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://me:hush-hush@host/v1",
        "http://hush-hush@host/v1",
        "me:hush-hush@host/v1",
        "http://me:hush-hush@[host/v1",
        "http://me:hush-hush@host:port/v1",
        "http://host/v1?key=hush-hush",
        "http://host/v1?api_key=hush-hush",
        "http://host/v1?access_token=hush-hush",
        "http://host/v1?Subscription-Key=hush-hush",
        "http://host/v1?hush-hush",
        "//me:hush-hush@host",
    ],
)
@pytest.mark.bad_input("server", "a password or a key within base_url", "refused, not shown")
def test_secrets_within_an_address_are_refused_and_not_shown(url, tmp_path):
    with pytest.raises(UserError, match=r"llm\.base_url") as caught:
        LanguageModel(engine="http", base_url=url)
    assert "hush" not in str(caught.value)
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(f"name: mine\nretriever:\n  base_url: '{url}'\n")
    with pytest.raises(UserError) as caught:
        load_recipe(recipe)
    assert "hush" not in str(caught.value)
    asked = ["evaluate", "m", "--tasks", "SciFact", "--base-url", url]
    done = CliRunner().invoke(cli, asked, standalone_mode=False)
    assert isinstance(done.exception, UserError)
    assert "--base-url" in str(done.exception)
    assert "hush" not in str(done.exception)


@pytest.mark.parametrize(
    "fields", [{"dimensions": float("nan")}, {"at": object()}, {"model": "x"}, {"input": ["x"]}]
)
def test_fields_that_cannot_be_sent_are_refused(fields):
    for name in ("extra_body", "query_extra_body", "document_extra_body"):
        with pytest.raises(UserError, match=rf"retriever\.{name}"):
            Retriever(base_url="http://localhost/v1", **{name: fields})


@pytest.mark.parametrize("url", ["http://localhost", "http://a.localhost", "http://127.1.2.3:9"])
def test_address_of_this_machine_is_local(url):
    assert address(url).is_local
    assert address("http://[::1]:8000").is_local
    assert address("http://[::ffff:127.0.0.1]:8000").is_local
    assert address("http://LOCALHOST.:8000").is_local
    assert not address("http://10.0.0.1").is_local
    assert not address("http://localhost.example").is_local


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7),
        ("-30", 0),
        ("1e999", 1e9),
        ("99999999999999999999", 1e9),
        ("nan", None),
        ("soon", None),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 0),
        ("Fri, 99 Foo 99999 99:99:99 GMT", None),
        ("2026-11-28", None),
    ],
)
def test_retry_after_is_parsed(value, seconds):
    assert parse_retry_after(value) == seconds
