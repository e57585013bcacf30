"""Corpora in scripts with and without spaces: XQuAD's paragraphs (Artetxe et al. 2020), which are
translations of each other, become about as many passages in each language, and filters bite."""

import json
from pathlib import Path

import pytest
from helpers.passages import make_passages
from helpers.query_rows import make_generated_query

from distill.corpus.split import estimate_tokens
from distill.generate.filters.apply import make_row_filters
from distill.generate.filters.duplicates import QueryDeduplicator
from distill.recipe import Filters, Recipe
from distill.store.run import Run
from distill.store.tables import PASSAGES
from distill.tasks.decontaminate import Decontaminator, EvaluationSet

LANGUAGES = ["zh", "th", "ar", "hi", "de"]
LONGEST = 128


def read_texts(data_folder: Path, language: str, name: str) -> list[str]:
    file = data_folder / "own" / "xquad" / language / f"{name}.jsonl"
    return [json.loads(line)["text"] for line in file.read_text(encoding="utf-8").splitlines()]


def count_letters(text: str) -> int:
    return len("".join(text.split()))


def copy_words(paragraph: str) -> str:
    """Some whole words from a paragraph's middle."""
    words = paragraph.split()
    return " ".join(words[5:15]) if len(words) > 20 else paragraph[20:50]


def make(run_folder, data_folder, language):
    corpus = {"source": "beir", "path": str(data_folder / "own" / "xquad" / language)}
    recipe = Recipe.model_validate(
        {"name": "x", "corpus": corpus | {"max_tokens": LONGEST, "min_words": 8}}
    )
    with Run(run_folder) as run:
        return make_passages(run, recipe.corpus, recipe.seed)


@pytest.mark.parametrize("language", LANGUAGES)
def test_paragraphs_of_every_language_become_passages_of_like_size(tmp_path, data_folder, language):
    english, stage = (
        make(tmp_path / f"run-{name}", data_folder, name) for name in ("en", language)
    )
    counts, rows = stage.manifest["counts"], stage.read_rows(PASSAGES)
    assert counts["read"] == 240
    assert counts["kept"] / (counts["kept"] + counts.get("dropped short", 0)) > 0.96
    tokens = [estimate_tokens(row["text"]) for row in rows]
    assert max(tokens) <= LONGEST
    assert sum(tokens) / len(tokens) > LONGEST / 2
    reference = sum(estimate_tokens(row["text"]) for row in english.read_rows(PASSAGES))
    # Of Thai each letter counts as a token, which is 2.8 times as many as of English.
    assert reference / 2 < sum(tokens) < reference * 3
    text = "".join(read_texts(data_folder, language, "corpus"))
    assert sum(len("".join(row["text"].split())) for row in rows) > 0.97 * len(
        "".join(text.split())
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_filters_pass_real_questions_and_drop_bad_ones_in_every_language(
    tmp_path, data_folder, language
):
    questions = list(dict.fromkeys(read_texts(data_folder, language, "queries")))[:300]
    paragraphs = read_texts(data_folder, language, "corpus")
    filters = make_row_filters(Filters(languages=[language], max_copied=0.8))

    def find_reasons(query: str, passage: str) -> list[str]:
        return [r for f in filters if (r := f(make_generated_query(query, passage))) is not None]

    passed = [question for question in questions if not find_reasons(question, paragraphs[0])]
    assert len(passed) > 0.97 * len(questions)
    other = "ar" if language == "zh" else "zh"
    foreign = read_texts(data_folder, other, "queries")[:100]
    assert sum("another language" in str(find_reasons(q, "")) for q in foreign) > 90
    copied = [copy_words(paragraph) for paragraph in paragraphs[:50]]
    reasons = [find_reasons(text, whole) for text, whole in zip(copied, paragraphs, strict=False)]
    assert sum("copies the passage" in found for found in reasons) > 40
    assert find_reasons(questions[0][:1], "") == ["too few words"]
    assert "too many words" in find_reasons(paragraphs[0], "")


@pytest.mark.parametrize("language", LANGUAGES)
def test_duplicates_and_evaluation_queries_are_seen_in_every_language(
    tmp_path, data_folder, language
):
    questions = list(dict.fromkeys(read_texts(data_folder, language, "queries")))[:200]
    with QueryDeduplicator(tmp_path / "seen.sqlite", True, 0.8) as seen:
        for number, question in enumerate(questions):
            seen.add(question, number)
        seen.flush()
        last = len(questions)
        again = [seen.find_reason(f" {question} ", last) for question in questions]
        assert set(again) == {"exact duplicate"}
        near = [seen.find_reason(f"{question} {question[:3]}", last) for question in questions]
        assert sum(reason is not None for reason in near) > 0.8 * len(questions)
    known = EvaluationSet("x", "1", lambda: questions[:100], lambda: iter(()))
    decontaminator = Decontaminator([known], 8)
    assert sum(map(decontaminator.overlaps, questions[:100])) == 100
    assert sum(map(decontaminator.overlaps, questions[100:])) < 10
