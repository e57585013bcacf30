"""Addresses in the three kinds of stores, and what is said of a store that cannot be used."""

import os

import pytest

from distill.errors import UserError
from distill.object_store.address import is_store_address, parse_address
from distill.object_store.mirror import open_mirror
from distill.object_store.objects import ObjectFolder
from distill.store.run import Run

ADDRESSES = ["s3://bucket/runs/mine", "gs://bucket/runs/mine", "az://bucket/runs/mine"]
NOBODY = "http://127.0.0.1:9"
"""An address at which no server listens."""


@pytest.fixture
def environment(monkeypatch):
    """Set variables, and none of another store."""
    for name in os.environ:
        if name.startswith(("AWS_", "GOOGLE_", "AZURE_")):
            monkeypatch.delenv(name)

    def set_variables(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    monkeypatch.setattr("distill.object_store.objects._RETRIES", {"max_retries": 0})
    return set_variables


@pytest.mark.parametrize("text", ADDRESSES)
def test_address_of_each_kind_of_store(text):
    assert is_store_address(text)
    for written in (text, f"{text}/"):
        address = parse_address(written)
        assert address == (text[:2], "bucket", "runs/mine")
        assert str(address) == text


@pytest.mark.bad_input("object store", "an address that is none, or holds a key", "refused")
@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("key:secret@bucket/mine", "without credentials"),
        ("bucket", "name a part of it"),
        ("bucket/", "name a part of it"),
        ("/mine", "is no address"),
        ("bucket/a//b", "an empty part"),
        ("bucket/../b", "an empty part"),
        ("bucket/a?key=1", "an empty part"),
    ],
)
def test_address_that_is_refused(scheme, rest, said):
    with pytest.raises(ValueError, match=said) as refused:
        parse_address(f"{scheme}://{rest}")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("text", ["abfs://bucket/mine", "S3://bucket/mine", "file:///mine", "mine"])
def test_other_schemes_are_no_addresses_of_a_store(text):
    assert not is_store_address(text)


@pytest.mark.bad_input("object store", "a store of each kind out of reach", "names its variables")
@pytest.mark.parametrize(
    ("text", "variables", "named"),
    [
        (
            ADDRESSES[0],
            {
                "AWS_ENDPOINT_URL": NOBODY,
                "AWS_ALLOW_HTTP": "true",
                "AWS_ACCESS_KEY_ID": "name",
                "AWS_SECRET_ACCESS_KEY": "c2VjcmV0",
                "AWS_REGION": "us-east-1",
            },
            ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_ENDPOINT_URL"],
        ),
        (
            ADDRESSES[1],
            {
                "GOOGLE_BASE_URL": NOBODY,
                "GOOGLE_ALLOW_HTTP": "true",
                "GOOGLE_SKIP_SIGNATURE": "true",
            },
            ["GOOGLE_APPLICATION_CREDENTIALS"],
        ),
        (
            ADDRESSES[2],
            {
                "AZURE_STORAGE_ENDPOINT": NOBODY,
                "AZURE_ALLOW_HTTP": "true",
                "AZURE_STORAGE_ACCOUNT_NAME": "name",
                "AZURE_STORAGE_ACCOUNT_KEY": "c2VjcmV0",
            },
            ["AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY"],
        ),
    ],
    ids=["s3", "gs", "az"],
)
def test_store_that_cannot_be_reached_names_the_variables_of_its_kind(
    environment, text, variables, named
):
    pytest.importorskip("obstore", reason="needs the extra store (obstore)")
    environment(**variables)
    with pytest.raises(UserError, match="cannot be reached") as refused:
        ObjectFolder(parse_address(text)).find("name")
    assert refused.value.where == text
    assert all(name in refused.value.remedy for name in named)
    assert "c2VjcmV0" not in str(refused.value)


@pytest.mark.bad_input(
    "object store", "a store of each kind without TLS", "refused by its variable"
)
@pytest.mark.parametrize(
    ("text", "endpoint", "allows"),
    [
        (ADDRESSES[0], "AWS_ENDPOINT_URL", "AWS_ALLOW_HTTP=true"),
        (ADDRESSES[1], "GOOGLE_BASE_URL", "GOOGLE_ALLOW_HTTP=true"),
        (ADDRESSES[2], "AZURE_STORAGE_ENDPOINT", "AZURE_ALLOW_HTTP=true"),
    ],
    ids=["s3", "gs", "az"],
)
def test_server_without_encryption_is_refused_by_the_variable_that_names_it(
    environment, text, endpoint, allows
):
    pytest.importorskip("obstore", reason="needs the extra store (obstore)")
    environment(**{endpoint: NOBODY})
    with pytest.raises(UserError) as refused:
        ObjectFolder(parse_address(text))
    assert refused.value.where == endpoint
    assert allows in refused.value.remedy


@pytest.mark.bad_input("object store", "no credentials in the environment", "refused by variables")
@pytest.mark.parametrize(
    ("text", "variables", "named"),
    [
        (
            ADDRESSES[1],
            {"GOOGLE_APPLICATION_CREDENTIALS": "/nowhere.json"},
            "GOOGLE_APPLICATION_CREDENTIALS",
        ),
        (ADDRESSES[2], {}, "AZURE_STORAGE_ACCOUNT_NAME"),
    ],
    ids=["gs", "az"],
)
def test_store_without_credentials_is_refused_at_once(environment, text, variables, named):
    pytest.importorskip("obstore", reason="needs the extra store (obstore)")
    environment(**variables)
    with pytest.raises(UserError, match="needs credentials") as refused:
        ObjectFolder(parse_address(text))
    assert named in refused.value.remedy
    assert refused.value.lasting


@pytest.mark.bad_input("object store", "an object whose name leads elsewhere", "refused")
def test_names_that_lead_out_of_the_folder_are_refused(server, tmp_path):
    import httpx

    httpx.put(f"{server.url}/bucket/runs/mine/words/%2e%2e/%2e%2e/x", content=b"x")
    for name in ("run", "other"):  # the second is not refused by the first's lease
        refusal = pytest.raises(UserError, match="in its name")
        with Run(tmp_path / name) as run, refusal, open_mirror(run.folder, ADDRESSES[0]):
            pass
    assert not (tmp_path / "x").exists()
