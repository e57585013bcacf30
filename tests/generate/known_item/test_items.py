"""Queries that are taken out of documents, which are then searched for by them."""

import pytest

from distill.generate.known_item.items import group_by_document, take_sentence, take_title

TEXT = (
    "The river carries ice from the mountains in spring. "
    "Boats of the valley wait until the water is calm and warm again. "
    "Farmers watch the banks and mend the old walls of stone every year."
)


def passage(id_: str, title: str, text: str = TEXT) -> dict[str, str]:
    return {"passage_id": id_, "title": title, "text": text, "source": ""}


def test_title_is_taken_out_of_every_passage_of_its_document():
    rows = [
        passage("a#0", "Ice in the valley", f"Ice in the valley: {TEXT}"),
        passage("a#1", "Ice in the valley"),
    ]
    item = take_title("a", rows)
    assert (item.query, item.answers) == ("Ice in the valley", ["a#0", "a#1"])
    assert [row["title"] for row in item.passages] == ["", ""]
    assert item.passages[0]["text"] == TEXT


@pytest.mark.parametrize(
    ("title", "text"),
    [
        ("Introduction", TEXT),
        ("Boats of the valley", TEXT),
        ("A title of words", "Too little text beside it."),
        ("", TEXT),
    ],
)
def test_titles_that_will_not_do(title, text):
    assert take_title("a", [passage("a", title, text)]) is None


def test_sentence_is_removed_from_the_passage_that_answers_it():
    rows = [passage("a#0", "Short", "Nothing here."), passage("a#1", "Short")]
    item = take_sentence("a", rows, 13, lambda _: True)
    assert item.answers == ["a#1"]
    assert item.query in TEXT
    assert item.query not in item.passages[1]["text"]
    assert item.passages[0] == rows[0]
    assert item == take_sentence("a", rows, 13, lambda _: True)


def test_sentence_that_stands_elsewhere_is_not_taken():
    assert take_sentence("a", [passage("a", "")], 13, lambda _: False) is None


def test_pieces_of_a_document_are_together_and_others_of_like_names_are_not():
    rows = [passage("a#0", "A"), passage("a#1", "A"), passage("b#1", "B"), passage("b#2", "C")]
    groups = [[row["passage_id"] for row in of] for _, of in group_by_document(rows)]
    assert groups == [["a#0", "a#1"], ["b#1"], ["b#2"]]
