"""Labelled tables with passages and ids alike: which of the two is searched."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from distill.corpus.readers.auto import open_auto
from distill.corpus.readers.rows import Columns
from distill.recipe import LabelledColumns
from distill.tasks.labelled import read_labelled

TEXTS = ["They dance.", "Slow rivers.", "Tides  follow the Moon.", "Stones."]
NO_IDS = [{}] * 4
FROM_0 = [{"_id": n} for n in range(4)]
WORDS = [{"_id": f"p{n}"} for n in range(4)]


def write_corpus(folder: Path, ids: Sequence[dict[str, object]]) -> Path:
    file = folder / "docs.jsonl"
    lines = [json.dumps(id_ | {"text": text}) for id_, text in zip(ids, TEXTS, strict=True)]
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def read_found(folder: Path, corpus: Path, *rows: str) -> dict[str, list[str]]:
    """Read the texts that answer each question of a table with passages and ids."""
    file = folder / "asked.csv"
    file.write_text("\n".join(["question,passage,doc_id", *rows]), encoding="utf-8")
    data, _ = read_labelled(file, LabelledColumns(), open_auto(corpus, Columns()))
    return {
        data.queries[query]: [data.corpus[id_]["text"] for id_ in judged]
        for query, judged in data.qrels.items()
    }


@pytest.mark.bad_input(
    "labelled file", "ids of another collection beside passages", "passages searched, and said"
)
@pytest.mark.parametrize("ids", [NO_IDS, FROM_0])
def test_numbers_that_are_those_of_rows_by_chance_are_no_ids(tmp_path, caplog, ids):
    """The document of that number was the right answer, whatever it said."""
    corpus = write_corpus(tmp_path, ids)
    found = read_found(tmp_path, corpus, "How?,Hold the button.,1", "Who?,Acme sells it.,3", ",,")
    assert found == {"How?": ["Hold the button."], "Who?": ["Acme sells it."]}
    assert "the column 'doc_id' is set aside, and the passages in 'passage'" in caplog.text
    assert "--columns document=doc_id" in caplog.text


def test_numbers_of_rows_that_hold_the_passages_are_ids(tmp_path, caplog):
    corpus = write_corpus(tmp_path, NO_IDS)
    found = read_found(tmp_path, corpus, "What flows?,slow Rivers,2", "When?,Tides follow,3", ",,")
    assert found == {"What flows?": ["Slow rivers."], "When?": ["Tides  follow the Moon."]}
    assert "the column 'passage' is set aside" in caplog.text
    assert "--columns passage=passage" in caplog.text


def test_ids_of_which_the_corpus_lacks_one_go_behind_passages(tmp_path, caplog):
    corpus = write_corpus(tmp_path, WORDS)
    found = read_found(tmp_path, corpus, "What flows?,Ice.,p1", "Why?,Nobody knows.,x9")
    assert found == {"What flows?": ["Ice."], "Why?": ["Nobody knows."]}
    assert "'x9' among them" in caplog.text
    found = read_found(tmp_path, corpus, "What flows?,Ice.,p1")
    assert found == {"What flows?": ["Slow rivers."]}
