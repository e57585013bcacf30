"""Runs of words shared with the evaluation: found whatever the case and punctuation."""

import json

import pytest
from helpers.query_rows import make_filter_recipe, make_generated_query
from helpers.tiny_models import TEXTS
from hypothesis import given
from hypothesis import strategies as st

from distill.errors import UserError
from distill.generate.filters.decontaminate import reject_evaluation_query
from distill.store.run import Run
from distill.tasks.decontaminate import (
    Decontaminator,
    EvaluationSet,
    list_evaluation_sets,
)
from distill.text.ngrams import NgramIndex
from distill.text.normalize import split_comparable_words

WORD = st.text(
    st.characters(categories=["Lu", "Ll", "Nd"], max_codepoint=0x24F), min_size=1, max_size=6
)
GAP = st.text(" \t\n.,;:!?-_'\"()/…—’", min_size=1, max_size=4)


@st.composite
def swollen(draw, asked):
    """A run of the words in another case, with other gaps, inside other words."""
    turned = [draw(st.sampled_from([word, word.upper(), word.lower()])) for word in asked]
    turned = [t if t.casefold() == w.casefold() else w for t, w in zip(turned, asked, strict=True)]
    around = draw(st.lists(WORD, max_size=5)), draw(st.lists(WORD, max_size=5))
    return "".join(word + draw(GAP) for word in [*around[0], *turned, *around[1]])


@given(st.data())
def test_run_of_words_of_an_evaluation_query_is_caught(data):
    length = data.draw(st.integers(3, 8))
    query = data.draw(st.lists(WORD, min_size=3, max_size=12))
    runs = NgramIndex([" ".join(query)], length)
    size = min(length, len(query))
    start = data.draw(st.integers(0, len(query) - size))
    assert runs.overlaps(data.draw(swollen(query[start : start + size])))


@given(st.lists(WORD, min_size=1, max_size=10), st.lists(WORD, min_size=1, max_size=10))
def test_decontamination_catches_nothing_else(query, text):
    """Against the definition, with sets of word tuples."""
    query, text = " ".join(query), " ".join(text)
    size = min(4, len(split_comparable_words(query)))

    def grams(of):
        words = split_comparable_words(of)
        return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)}

    expected = size >= 3 and not grams(query).isdisjoint(grams(text))
    assert NgramIndex([query], 4).overlaps(text) == expected


def known(*queries, documents=(), length=8):
    given_ = EvaluationSet("mine", "1", lambda: list(queries), lambda: iter(documents))
    return Decontaminator([given_], length)


def test_matches_of_query_and_seed_passage_are_distinguished():
    checks = known("how high do common swifts fly at night")
    assert reject_evaluation_query(
        make_generated_query("How high do common swifts fly at night?"), checks
    ) == ("holds an evaluation query")
    assert reject_evaluation_query(make_generated_query("how high do swifts fly"), checks) is None
    contaminated = make_generated_query("how high do swifts fly")
    contaminated.contaminated = True
    assert reject_evaluation_query(contaminated, checks) == "passage holds an evaluation query"


@pytest.mark.parametrize(
    ("query", "is_caught"),
    [
        ("sort arrays in numpy", True),
        ("Sort arrays, in NumPy!", True),
        ("sort arrays in scipy", False),
        ("in numpy", False),  # two words would be found everywhere
        ("arrays in numpy that are large and of many dimensions", False),
    ],
)
def test_evaluation_query_that_is_short_is_caught_in_part(query, is_caught):
    assert known("how to sort arrays in numpy").overlaps(query) is is_caught


def test_evaluation_query_that_is_long_is_not_caught_in_part():
    asked = known("how to sort arrays in numpy by their second axis")
    assert not asked.overlaps("sort arrays in numpy")


ASKED = {
    "zh": "冰川沿着山谷缓慢流动的原因是什么以及它有多快",
    "th": "ทำไมธารน้ำแข็งจึงเคลื่อนที่ช้าๆลงจากหุบเขาและเร็วแค่ไหน",
}


@pytest.mark.parametrize("language", ASKED)
def test_letters_are_parts_of_words_in_scripts_without_spaces(language):
    query = ASKED[language]
    checks = known(query)
    assert checks.overlaps(f"请问{query}？")
    assert not checks.overlaps(query[:8])  # a few words alone, as others use them too
    assert checks.too_short == 0
    assert known(query[:3]).too_short == 1


def test_shorter_evaluation_queries_count_whole():
    checks = known("swift flight height", "swifts fly")
    assert checks.overlaps("the Swift: flight, height and sleep")
    assert not checks.overlaps("swift flight")
    assert not checks.overlaps("how swifts fly")
    assert (checks.query_count, checks.too_short) == (2, 1)


def test_documents_are_known_apart_from_queries():
    checks = known("how high do swifts fly", documents=TEXTS, length=5)
    assert checks.overlaps_document(f"It says: {TEXTS[0].upper()}")
    assert not checks.overlaps(TEXTS[0])
    assert not checks.overlaps_document("how high do swifts fly")


def write_beir(folder, queries):
    (folder / "qrels").mkdir(parents=True)
    rows = [{"_id": f"d{n}", "title": "", "text": text} for n, text in enumerate(TEXTS)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    rows = [{"_id": f"q{n}", "text": text} for n, text in enumerate(queries)]
    (folder / "queries.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    judged = "".join(f"q{n}\td{n}\t1\n" for n in range(len(queries)))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)


def evaluating(tasks, data=None, **filters):
    sections = {"evaluate": {"tasks": tasks, "task_data": data and str(data)}}
    if "held-out" in tasks:
        sections["corpus"] = {"source": "docstrings", "held_out": 0.1}
    return make_filter_recipe(generate={"filters": filters}, **sections)


def make_decontaminator(asked, held_out):
    filters = asked.generate.filters
    sets = list_evaluation_sets(asked.evaluate, filters, asked.own_corpus, asked.seed, held_out)
    return Decontaminator(sets, filters.decontaminate_words) if sets else None


def test_decontamination_is_on_when_the_recipe_evaluates():
    assert make_decontaminator(evaluating([]), None) is None
    assert make_decontaminator(evaluating(["mine"], decontaminate=False), None) is None
    with pytest.raises(UserError, match=r"evaluate\.tasks is empty"):
        make_decontaminator(evaluating([], decontaminate=True), None)


def test_tasks_and_held_out_are_read(tmp_path):
    pytest.importorskip("mteb")
    write_beir(tmp_path / "tasks" / "mine", ["why do otters hold hands", "otters"])
    with Run(tmp_path / "run") as run:
        held_out = run.open_stage("held-out", {})
        write_beir(held_out.folder, ["compute the norm of a vector or matrix given"])
        held_out.finish(rows=1)
    asked = evaluating(["held-out", "mine"], tmp_path / "tasks")
    checks = make_decontaminator(asked, held_out)
    assert checks.sets == ["held-out", "mine"]
    assert checks.query_count == 3
    assert checks.overlaps("Why do otters hold hands when they sleep?")
    assert checks.overlaps("Compute the norm of a vector or matrix: given one")
    assert checks.overlaps_document(TEXTS[3])


def test_held_out_task_alone_needs_no_mteb(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "mteb", None)
    with Run(tmp_path / "run") as run:
        held_out = run.open_stage("held-out", {})
        write_beir(held_out.folder, ["compute the norm of a vector"])
        held_out.finish(rows=1)
    assert make_decontaminator(evaluating(["held-out"]), held_out).overlaps(
        "compute the norm of a vector"
    )


@pytest.mark.bad_input("evaluation", "decontamination by a task that is not known", "refused")
def test_unknown_task_is_refused_with_the_way_round(tmp_path):
    pytest.importorskip("mteb")
    with pytest.raises(UserError) as fault:
        make_decontaminator(evaluating(["no-such-task"], tmp_path), None)
    assert "generate.filters.decontaminate: false" in fault.value.remedy


def test_run_that_holds_nothing_out_is_refused():
    with pytest.raises(UserError, match="holds nothing out"):
        make_decontaminator(evaluating(["held-out"]), None)
