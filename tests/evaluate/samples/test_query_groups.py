"""Scores by groups of queries."""

import json

from distill.evaluate.samples.query_groups import (
    DOCUMENT_LENGTH,
    ItemLengths,
    group_queries,
    read_query_kinds,
)


def values(count):
    return {f"test/default/q/{n}": {"student": n / 10, "base": 0.5} for n in range(count)}


def number_lengths(items):
    return ItemLengths({item: number for number, item in enumerate(items, start=1)}, {})


def test_thirds_of_length_have_their_bounds_sizes_and_means():
    lengths = {item: number + 3 for number, item in enumerate(values(9))}
    (found,) = group_queries(values(9), ItemLengths(lengths, {}), {})
    assert found["by"] == "length"
    assert [group["items"] for group in found["groups"]] == [3, 3, 3]
    names = ["short: 3 to 5 words", "middle: 6 to 8 words", "long: 9 to 11 words"]
    assert [group["group"] for group in found["groups"]] == names
    assert [group["scores"]["student"] for group in found["groups"]] == [0.1, 0.4, 0.7]


def test_student_is_compared_with_its_teacher_in_each_third():
    both = {item: of | {"teacher": 0.5} for item, of in values(9).items()}
    (found,) = group_queries(both, number_lengths(both), {})
    gaps = [group["from_teacher"] for group in found["groups"]]
    assert [gap["difference"] for gap in gaps] == [-0.4, -0.1, 0.2]
    for gap in gaps:
        assert gap["low"] < gap["difference"] < gap["high"]
    (again,) = group_queries(both, number_lengths(both), {})
    assert again == found


def test_student_is_compared_with_its_teacher_by_length_of_the_documents_too():
    both = {item: of | {"teacher": 0.5} for item, of in values(9).items()}
    words = {item: 900 - 100 * number for number, item in enumerate(both)}
    (found,) = group_queries(both, ItemLengths({}, words), {})
    assert found["by"] == DOCUMENT_LENGTH
    assert found["groups"][0]["group"] == "short: 100 to 300 words"
    gaps = [group["from_teacher"]["difference"] for group in found["groups"]]
    assert gaps == [0.2, -0.1, -0.4]


def test_single_query_has_no_interval():
    both = {item: of | {"teacher": 0.5} for item, of in values(2).items()}
    (found,) = group_queries(both, number_lengths(both), {})
    assert not any("from_teacher" in group for group in found["groups"])


def test_queries_of_one_length_are_no_groups():
    assert group_queries(values(9), ItemLengths(dict.fromkeys(values(9), 4), {}), {}) == []


def test_kinds_are_found_by_the_id_even_with_a_slash():
    kinds = {f"q/{n}": "a title" if n < 2 else "a sentence" for n in range(5)}
    (found,) = group_queries(values(5), ItemLengths({}, {}), kinds)
    assert found["by"] == "kind"
    assert {group["group"]: group["items"] for group in found["groups"]} == {
        "a title": 2,
        "a sentence": 3,
    }


def test_role_that_lacks_a_query_has_no_mean():
    some = values(4)
    del some["test/default/q/0"]["base"]
    (found,) = group_queries(some, number_lengths(some), {})
    first, *_, last = found["groups"]
    assert list(first["scores"]) == ["student"]
    assert list(last["scores"]) == ["student", "base"]


def test_known_items_have_kinds(tmp_path):
    (tmp_path / "known-item").mkdir()
    rows = [{"_id": "q-a", "text": "Bees", "kind": "title"}]
    file = tmp_path / "known-item" / "queries.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_query_kinds(tmp_path) == {"known-item": {"q-a": "a document's title"}}
