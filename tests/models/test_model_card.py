"""The head of a model's card, which may hold anything."""

import pytest

from distill.models.model_card import read_card


def card(folder, data):
    (folder / "README.md").write_bytes(data.encode() if isinstance(data, str) else data)
    return read_card(folder)


def test_head_is_read(tmp_path):
    assert read_card(tmp_path) == {}
    assert card(tmp_path, "---\nlicense: mit\ntags: [a]\n---\n# A\n---\n")["license"] == "mit"
    assert card(tmp_path, "---\r\nlicense: mit\r\n---\r\n# A") == {"license": "mit"}
    assert card(tmp_path, "# No head\n---\nlicense: mit\n---\n") == {}


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(
            data, id=name, marks=pytest.mark.bad_input("model card", name, "says nothing, at once")
        )
        for name, data in [
            ("aliases within themselves", "---\na: &a [*a]\n---\n"),
            ("1,000 levels", f"---\na: {'[' * 1000}\n---\n"),
            ("no YAML", "---\na: [\n---\n"),
            ("a list", "---\n- a\n---\n"),
            ("a key twice", "---\na: 1\na: 2\n---\n"),
            ("Latin-1", b"---\na: \xe9\n---\n"),
            ("a head that does not end", "---\na: 1\n"),
        ]
    ],
)
def test_card_that_cannot_be_read_says_nothing(tmp_path, data):
    assert card(tmp_path, data) == {}
