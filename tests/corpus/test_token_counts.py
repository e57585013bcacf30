"""Passages measured by a model's own tokenizer (`corpus.tokenizer`)."""

from pathlib import Path

import pytest
from helpers.passages import make_passages
from tokenizers import Tokenizer

from distill.corpus.split import split_text
from distill.corpus.token_counts import list_length_settings, open_token_count
from distill.errors import UserError
from distill.recipe import Recipe
from distill.recipe.sections.corpus import Corpus
from distill.store.run import Run
from distill.store.tables import PASSAGES

GERMAN = " ".join(
    f"Im Jahr {year} unterhielten Donaudampfschifffahrtsgesellschaften Schaufelraddampfer. Die "
    f"Kapitänsmütze {year} hing an der Hakenleiste, solange das Schiff im Hafen lag."
    for year in range(1836, 1842)
)
BUDGET = 48


def make_texts(folder: Path, **corpus: object) -> list[str]:
    source = folder / "texts.jsonl"
    source.write_text(f'{{"_id": "a", "text": "{GERMAN}"}}\n', encoding="utf-8")
    values = {"path": str(source), "max_tokens": BUDGET, "min_words": 0} | corpus
    recipe = Recipe.model_validate({"name": "x", "corpus": values})
    with Run(folder / f"run-{len(corpus)}") as run:
        return [
            row["text"]
            for row in make_passages(run, recipe.corpus, recipe.seed).read_rows(PASSAGES)
        ]


def test_no_passage_has_more_of_the_tokenizers_tokens_than_asked(tmp_path, encoder_folder):
    tokenizer = Tokenizer.from_file(str(encoder_folder / "tokenizer.json"))
    tokenizer.no_truncation()

    def count(text: str) -> int:
        return len(tokenizer.encode(text, add_special_tokens=False).ids)

    estimated = make_texts(tmp_path)
    counted = make_texts(tmp_path, tokenizer=str(encoder_folder))
    assert max(map(count, estimated)) > BUDGET, "the estimate is too low for these words"
    assert BUDGET / 2 < max(map(count, counted)) <= BUDGET
    pieces = split_text(GERMAN, BUDGET, open_token_count(Corpus(tokenizer=str(encoder_folder))))
    assert set(pieces) == set(counted)
    assert " ".join(pieces).split() == GERMAN.split()


def test_tokenizer_is_in_the_fingerprint_where_one_is_named(encoder_folder):
    assert list_length_settings(Corpus()) == {"max_tokens": 256, "min_words": 5}
    named = list_length_settings(Corpus(tokenizer=str(encoder_folder)))
    assert len(str(named["tokenizer"])) == 16


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("config.json", "{}", r"has no tokenizer\.json"),
        ("tokenizer.json", '{"model": ', r"tokenizer\.json: cannot be read as a tokenizer"),
    ],
    ids=["absent", "torn"],
)
@pytest.mark.bad_input("corpus", "corpus.tokenizer: none in the model's folder, or torn", "refused")
def test_model_without_a_tokenizer_that_can_be_read_is_refused(tmp_path, name, content, fault):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / name).write_text(content)
    with pytest.raises(UserError, match=fault):
        open_token_count(Corpus(tokenizer=str(tmp_path / "model")))
