"""A key is taken out of what a server says, however it is spelt there."""

import base64
import html
import json
from urllib.parse import quote

import pytest

from distill.errors import UserError
from distill.remote.key import ApiKey, check_header, check_variable, read_key

SECRET = "sk-Ab/9+x&=\"q~'z"


def escaped(text: str, upper: bool = False) -> str:
    return "".join(f"\\u{ord(c):04{'X' if upper else 'x'}}" for c in text)


SPELLINGS = {
    "as it is": SECRET,
    "JSON": json.dumps(SECRET)[1:-1],
    "JSON that escapes slashes": json.dumps(SECRET)[1:-1].replace("/", "\\/"),
    "JSON within JSON": json.dumps(json.dumps(SECRET))[3:-3].replace("/", "\\\\/"),
    "JSON of numbers": escaped(SECRET),
    "JSON of numbers in capitals": escaped(SECRET, upper=True),
    "JSON with some numbers": SECRET.replace("/", "\\u002f").replace('"', '\\"'),
    "an address": quote(SECRET, safe=""),
    "an address in small letters": quote(SECRET, safe="").lower().replace("sk-ab", "sk-Ab"),
    "an address within an address": quote(quote(SECRET, safe=""), safe=""),
    "an address that keeps slashes": quote(SECRET),
    "HTML": html.escape(SECRET),
    "HTML of numbers": "".join(f"&#{ord(c)};" for c in SECRET),
    "HTML of hexadecimal numbers": "".join(f"&#x{ord(c):X};" for c in SECRET),
    "repr": repr(SECRET.encode())[2:-1],
    "base64": base64.b64encode(SECRET.encode()).decode(),
    "base64 for addresses": base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("="),
    "base64 of user and key": base64.b64encode(f"u:{SECRET}".encode()).decode(),
    "base64 of a header": base64.b64encode(f"Bearer {SECRET}\n".encode()).decode(),
    "hexadecimal": SECRET.encode().hex(),
}


@pytest.mark.parametrize("spelt", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.bad_input("server", "an error that repeats the key, spelt in any way", "[key]")
def test_key_is_taken_out_however_it_is_spelt(spelt):
    found = ApiKey(SECRET).redact(f'before "{spelt}" after')
    assert found.startswith('before "')
    assert found.endswith('" after')
    assert "[key]" in found
    assert SECRET[-6:] not in found
    assert len(found) < len('before "[key]" after') + 20


def test_redaction_leaves_text_that_is_no_key():
    text = 'sk-Ab/9+x is no key, C:\\dir\\u00e9 %41 &#65; "q" neither'
    assert ApiKey(SECRET).redact(text) == text
    assert ApiKey("").redact(text) == text
    assert ApiKey("about").redact_written("about bees") == "about bees"


def test_long_text_is_searched_for_the_keys_beginning_alone():
    """The spellings of the whole key are looked for only where its beginning stands."""
    text = "".join(f'{{"token": " word{n}", "logprob": -{n}.{n}}}, ' for n in range(20_000))
    key = ApiKey(SECRET)
    assert key.redact_written(text) == text
    assert "_pattern" not in vars(key)


def test_key_goes_into_the_header_that_is_named(monkeypatch):
    monkeypatch.setenv("SOME_KEY", SECRET)
    assert read_key("SOME_KEY").header == {"Authorization": f"Bearer {SECRET}"}
    assert read_key("SOME_KEY", "api-key").header == {"api-key": SECRET}
    assert read_key("SOME_OTHER_KEY", "api-key").header == {}
    assert SECRET not in repr(read_key("SOME_KEY"))


@pytest.mark.parametrize("name", ["", "api key", "x:y", "Host", "content-length", "é", "a\nb"])
@pytest.mark.bad_input("server", "api_key_header that is no header", "refused by name")
def test_api_key_header_that_is_no_header_is_refused(name):
    with pytest.raises(UserError, match=r"llm\.api_key_header"):
        check_header(name, "llm.api_key_header")


@pytest.mark.parametrize("name", ["sk-proj-12345", "", "A B", "1A", "${KEY}"])
@pytest.mark.bad_input("server", "a key in the place of its variable's name", "refused, not shown")
def test_key_in_the_place_of_a_name_is_not_shown(name):
    with pytest.raises(UserError, match="no name of an environment variable") as caught:
        check_variable(name, "llm.api_key_variable")
    assert not name or name not in str(caught.value)


def test_key_of_thousands_of_letters_is_taken_out_and_costs_nothing_where_it_is_not(monkeypatch):
    token = base64.urlsafe_b64encode(bytes(range(256)) * 5).decode()
    key = ApiKey(token)
    assert key.redact("the server says nothing of it") == "the server says nothing of it"
    assert "_pattern" not in vars(key)  # which takes seconds to compile
    assert key.redact(f"<{token}>") == "<[key]>"


@pytest.mark.bad_input("server", "a key of 100,000 characters", "refused, not shown")
def test_key_that_is_too_long_for_a_header_is_refused(monkeypatch):
    monkeypatch.setenv("LONG_KEY", "secret" * 20_000)
    with pytest.raises(UserError, match="LONG_KEY: holds 120,000 characters") as fault:
        read_key("LONG_KEY")
    assert "secret" not in str(fault.value)
