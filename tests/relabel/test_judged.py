"""What was judged is kept, as a whole or not at all."""

from contextlib import closing

import pytest

from distill.errors import UserError
from distill.relabel.judged import JudgedPairs, judgement_key

MARK = {"pass": "ql", "llm": {"model": "m", "revision": "1"}, "prompt": "P"}


def test_what_was_kept_is_found_by_the_next_process(tmp_path):
    keys = [judgement_key(MARK, "passage", f"query {n}") for n in range(1500)]
    scores = {key: (-n / 7, n) for n, key in enumerate(keys)}
    with closing(JudgedPairs(tmp_path / "j.sqlite")) as judged:
        judged.keep(scores)
    with closing(JudgedPairs(tmp_path / "j.sqlite")) as judged:
        assert judged.find([*keys, b"another"]) == scores


def test_the_first_judgement_stays(tmp_path):
    with closing(JudgedPairs(tmp_path / "j.sqlite")) as judged:
        judged.keep({b"k": (1.0, 1)})
        judged.keep({b"k": (2.0, 2)})
        assert judged.find([b"k"]) == {b"k": (1.0, 1)}


@pytest.mark.parametrize(
    ("mark", "texts"),
    [
        (MARK | {"pass": "rc"}, ("p", "q")),
        (MARK | {"prompt": "Q"}, ("p", "q")),
        (MARK | {"llm": {"model": "m", "revision": "2"}}, ("p", "q")),
        (MARK, ("p q",)),
        (MARK, ("q", "p")),
    ],
)
def test_another_ranker_model_prompt_or_text_is_another_pair(mark, texts):
    assert judgement_key(mark, *texts) != judgement_key(MARK, "p", "q")


def test_a_file_that_is_no_database_is_named(tmp_path):
    (tmp_path / "j.sqlite").write_text("mine, not yours" * 100)
    with pytest.raises(UserError, match=r"j\.sqlite.*judgements(.|\n)*move it away"):
        JudgedPairs(tmp_path / "j.sqlite")
