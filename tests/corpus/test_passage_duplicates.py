"""Which passages read the same."""

import pytest

from distill.corpus.gather import PassageDeduplicator
from distill.text.normalize import normalize_text


def test_normal_form_forgets_case_width_and_white_space() -> None:
    assert normalize_text("  Ｆine \n STRASSE\t") == normalize_text("fine straße") == "fine strasse"


@pytest.mark.parametrize(
    ("title", "text", "is_new"),
    [
        ("A", "the text", False),
        ("a", " The\nText ", False),
        ("b", "the text", True),
        ("A the", "text", True),  # where the title ends is part of what is read
    ],
)
def test_duplicates(title: str, text: str, is_new: bool) -> None:
    seen = PassageDeduplicator()
    assert seen.is_new("A", "the text")
    assert seen.is_new(title, text) is is_new
