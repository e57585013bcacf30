"""A cut list covers the range of its scores."""

import math

from distill.train.data.stratify import select_stratified

SCORES = {f"p{n}": value for n, value in enumerate([9.0, 8.9, 8.8, 5.0, 1.0, 0.75, 0.0])}


def test_selected_cover_the_range():
    assert select_stratified(SCORES, ["p0"], 2) == ["p3", "p6"]
    assert select_stratified(SCORES, [], 3) == ["p0", "p3", "p6"]
    assert select_stratified(SCORES, ["p3", "p6"], 1) == ["p0"]


def test_scale_and_offset_do_not_matter():
    scaled = {id_: 30 * score - 7 for id_, score in SCORES.items()}
    for count in range(7):
        assert select_stratified(scaled, ["p1"], count) == select_stratified(SCORES, ["p1"], count)


def test_short_list_stays_whole_but_for_what_has_no_score():
    scores = SCORES | {"unknown": math.nan}
    assert select_stratified(scores, ["p2", "unknown"], 9) == ["p0", "p1", "p3", "p4", "p5", "p6"]


def test_equal_scores_are_selected_once_each():
    scores = dict.fromkeys(("a", "b", "c", "d"), 1.0)
    assert len(select_stratified(scores, ["a"], 2)) == 2
    assert select_stratified(scores, ["a"], 0) == []
