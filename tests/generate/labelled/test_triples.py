"""Labelled sets as triples."""

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distill.corpus.readers.jsonl import hash_file
from distill.errors import UserError
from distill.generate.labelled.triples import fingerprint, make_labelled
from distill.recipe import Recipe
from distill.start.checks.data import check_labelled
from distill.store.run import Run
from distill.store.stage import Stage
from distill.store.tables import EXAMPLES
from distill.tasks.decontaminate import list_evaluation_sets

LABELS = ["card_arrival", "exchange_rate", "lost_card", "top_up_failed"]


def bank_rows(each: int = 6) -> list[dict[str, Any]]:
    """In the layout of Banking77: a text and the name of its intent."""
    return [
        {"text": f"Message {n} that is about {label.replace('_', ' ')}.", "label": label}
        for n in range(each)
        for label in LABELS
    ]


def write_tsv(file: Path, rows: list[dict[str, Any]]) -> Path:
    lines = ["\t".join(rows[0]), *("\t".join(map(str, row.values())) for row in rows)]
    file.write_text("\n".join(lines) + "\n")
    return file


def write_jsonl(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def write_csv(file: Path, rows: list[dict[str, Any]]) -> Path:
    lines = [",".join(rows[0]), *(",".join(f'"{v}"' for v in row.values()) for row in rows)]
    file.write_text("\n".join(lines) + "\n")
    return file


def write_parquet(file: Path, rows: list[dict[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file


WRITERS: dict[str, Callable[[Path, list[dict[str, Any]]], Path]] = {
    "tsv": write_tsv,
    "csv": write_csv,
    "jsonl": write_jsonl,
    "parquet": write_parquet,
}


def recipe_of(folder: Path, *sets: dict[str, Any], **sections: Any) -> Recipe:
    """Paths are relative to the recipe's folder."""
    labelled = [{"task": "Identify the intent of a message to a bank.", **one} for one in sets]
    recipe = Recipe.model_validate(
        {
            "name": "sets",
            "seed": sections.pop("seed", 4),
            "generate": {"methods": ["labelled"], "labelled": labelled},
            **sections,
        }
    )
    recipe._folder = folder
    return recipe


def labelled(folder: Path, *sets: dict[str, Any], run: str = "run", **sections: Any) -> Stage:
    recipe = recipe_of(folder, *sets, **sections)
    generate, seed = recipe.generate, recipe.seed
    evaluated = list_evaluation_sets(recipe.evaluate, generate.filters, None, seed, None)
    with Run(folder / run) as opened:
        return make_labelled(opened, generate, seed, recipe.folder, evaluated)


# --- classification -------------------------------------------------------------------------------


def test_triple_has_its_label_another_and_one_id(tmp_path):
    write_tsv(tmp_path / "train.tsv", bank_rows())
    stage = labelled(tmp_path, {"path": "train.tsv"})
    label_of = {row["text"]: row["label"] for row in bank_rows()}
    ids = set()
    for row in stage.read_rows(EXAMPLES):
        (query, id_), (positive, same), (negative, also) = (
            text.rsplit(" ", 1) for text in (row["query"], row["positive"], *row["negatives"])
        )
        assert id_ == same == also
        ids.add(id_)
        assert label_of[query] == label_of[positive] != label_of[negative]
        assert query != positive
        assert row["task_type"] == "classification"
        assert row["task"] == "Identify the intent of a message to a bank."
    assert len(ids) == stage.manifest["rows"] == 24
    assert len({row["query_id"] for row in stage.read_rows(EXAMPLES)}) == 24


@pytest.mark.parametrize(("text", "is_another"), [('"Start', True), ('"Great" film', False)])
def test_fingerprint_is_another_where_a_tsv_file_is_read_otherwise(tmp_path, text, is_another):
    """A text that began with a quote went on up to the next one, over lines."""
    write_tsv(tmp_path / "train.tsv", [{"text": text, "label": "pos"}])
    recipe = recipe_of(tmp_path, {"path": "train.tsv"})
    (of_set,) = fingerprint(recipe.generate, recipe.seed, tmp_path, [])["sets"]
    before = recipe.generate.labelled[0].model_dump(exclude={"path"})
    before["sha256"] = hash_file(tmp_path / "train.tsv")
    assert (of_set != before) is is_another


def test_set_in_the_home_folder_is_read(tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    write_tsv(home / "train.tsv", bank_rows())
    check_labelled(recipe_of(tmp_path, {"path": "~/train.tsv"}))
    assert labelled(tmp_path, {"path": "~/train.tsv"}).manifest["rows"] == 24


def test_triples_are_limited_by_a_seeded_draw_over_all_labels(tmp_path):
    write_tsv(tmp_path / "train.tsv", bank_rows(100))
    of_set = {"path": "train.tsv", "examples": 80}
    first = labelled(tmp_path, of_set, run="a").read_rows(EXAMPLES)
    assert first == labelled(tmp_path, of_set, run="b").read_rows(EXAMPLES)
    assert first != labelled(tmp_path, of_set, run="c", seed=5).read_rows(EXAMPLES)
    assert len(first) == 80
    negatives = Counter(
        label.replace("_", " ")
        for row in first
        for label in LABELS
        if label.replace("_", " ") in row["negatives"][0]
    )
    assert len(negatives) == 4


def test_ids_differ_between_sets(tmp_path):
    write_tsv(tmp_path / "a.tsv", bank_rows())
    rows = labelled(tmp_path, {"path": "a.tsv"}, {"path": "a.tsv", "task": "Again."}).read_rows(
        EXAMPLES
    )
    assert len({row["query"].rsplit(" ", 1)[1] for row in rows}) == len(rows) == 48
    assert len({row["query_id"] for row in rows}) == 48
    assert {row["task"] for row in rows[24:]} == {"Again."}


@pytest.mark.parametrize("kind", WRITERS)
def test_every_kind_of_file_reads_the_same(tmp_path, kind):
    WRITERS[kind](tmp_path / f"train.{kind}", bank_rows())
    write_tsv(tmp_path / "other.tsv", bank_rows())

    def texts(path: str, run: str) -> set[str]:
        rows = labelled(tmp_path, {"path": path}, run=run).read_rows(EXAMPLES)
        return {row["query"].rsplit(" ", 1)[0] for row in rows}

    assert texts(f"train.{kind}", "a") == texts("other.tsv", "b")


def test_columns_are_the_users_and_labels_may_be_numbers(tmp_path):
    rows = [{"utterance": f"Text {n}", "intent": n % 3} for n in range(12)]
    write_jsonl(tmp_path / "x.jsonl", rows)
    of_set = {"path": "x.jsonl", "text_column": "utterance", "label_column": "intent"}
    assert labelled(tmp_path, of_set).manifest["rows"] == 12


def test_same_text_twice_and_a_lonely_label(tmp_path):
    rows = [
        {"text": "Where is my card?", "label": "a"},
        {"text": "where is  my card?", "label": "a"},
        {"text": "My card has not come.", "label": "a"},
        {"text": "What is the rate?", "label": "b"},
    ]
    write_jsonl(tmp_path / "x.jsonl", rows)
    stage = labelled(tmp_path, {"path": "x.jsonl"})
    kept = stage.read_rows(EXAMPLES)
    assert {row["query_id"] for row in kept} == {"labelled~0~1", "labelled~0~3"}
    assert {row["negatives"][0].rsplit(" ", 1)[0] for row in kept} == {"What is the rate?"}
    assert stage.manifest["counts"]["without a counterpart"] == 1


def test_text_of_two_labels_is_never_its_own_negative(tmp_path):
    rows = [{"text": f"Text {n}", "label": label} for n in range(3) for label in "ab"]
    write_jsonl(tmp_path / "x.jsonl", rows)
    stage = labelled(tmp_path, {"path": "x.jsonl"})
    for row in stage.read_rows(EXAMPLES):
        assert row["negatives"][0] not in (row["query"], row["positive"])
    counts = stage.manifest["counts"]
    assert sum(counts.values()) == 6
    assert counts["kept"] < 6


# --- natural language inference -------------------------------------------------------------------


def nli_rows() -> list[dict[str, Any]]:
    return [
        {"premise": f"Premise {n}.", "hypothesis": f"{label} of {n}, {k}.", "label": label}
        for n in range(5)
        for label in ("entailment", "neutral", "contradiction")
        for k in range(2)
    ]


NLI = {"kind": "nli", "task": "Given a premise, find what follows from it."}


@pytest.mark.parametrize("numbered", [False, True])
def test_premise_with_what_it_entails_and_what_contradicts_it(tmp_path, numbered):
    rows = nli_rows()
    if numbered:
        numbers = {"entailment": 0, "neutral": 1, "contradiction": 2}
        rows = [row | {"label": numbers[row["label"]]} for row in rows]
    rows.append({"premise": "Premise 0.", "hypothesis": "Who knows.", "label": -1})
    write_jsonl(tmp_path / "nli.jsonl", rows)
    kept = labelled(tmp_path, {"path": "nli.jsonl", **NLI}).read_rows(EXAMPLES)
    assert {row["query"] for row in kept} == {f"Premise {n}." for n in range(5)}
    for row in kept:
        number = row["query"].removeprefix("Premise ").removesuffix(".")
        assert row["positive"].startswith(f"entailment of {number},")
        assert row["negatives"][0].startswith(f"contradiction of {number},")
        assert row["task_type"] == "nli"


def test_premises_without_both_are_counted(tmp_path):
    rows = [*nli_rows(), {"premise": "Alone.", "hypothesis": "It is.", "label": "entailment"}]
    write_jsonl(tmp_path / "nli.jsonl", rows)
    stage = labelled(tmp_path, {"path": "nli.jsonl", **NLI})
    assert stage.manifest["counts"] == {"kept": 5, "without a counterpart": 1}


# --- what is refused ------------------------------------------------------------------------------

CASES: dict[str, tuple[str, str, str]] = {
    "no file": ("absent.tsv", "", r"absent\.tsv: no such file"),
    "other suffix": ("x.txt", "text\tlabel\n", r"x\.txt: is none of \.tsv, \.csv"),
    "no column": ("x.tsv", "txt\tlabel\na\tb\n", r"x\.tsv, row 2: has no column 'text'.*txt"),
    "no column in a row": (
        "x.jsonl",
        '{"text": "a", "label": 1}\n{"text": "b"}\n',
        r"row 2.*label",
    ),
    "empty text": ("x.tsv", "text\tlabel\na\tb\n \tb\n", r"x\.tsv, row 3: column 'text' is empty"),
    "null text": ("x.jsonl", '{"text": null, "label": "a"}\n', r"row 1: .*NoneType"),
    "a list": ("x.jsonl", '{"text": ["a"], "label": "a"}\n', r"row 1: column 'text' holds list"),
    "one label": ("x.tsv", "text\tlabel\na\tb\nc\tb\n", r"x\.tsv: .*'label' holds no other.*'b'"),
    "no row": ("x.tsv", "text\tlabel\n", r"x\.tsv: .*it has no row"),
    "empty": ("x.tsv", "", r"x\.tsv: .*it has no row"),
    "short row": ("x.tsv", "text\tlabel\na\tb\nc\n", r"x\.tsv, row 3: has other columns"),
    "long row": ("x.tsv", "text\tlabel\na\tb\tc\n", r"x\.tsv, row 2: has other columns"),
    "open quote": ("x.csv", 'text,label\n"a,b\nc,d\n', r"x\.csv, row 2: cannot be read"),
    "no JSON": ("x.jsonl", "{\n", r"x\.jsonl, row 1: is not JSON"),
    "no Parquet": ("x.parquet", "PAR1", r"x\.parquet: is not a readable Parquet"),
}


@pytest.mark.bad_input(
    "labelled set", "faulty rows of each kind", "refused with the row, nothing written"
)
@pytest.mark.parametrize("case", CASES)
def test_faulty_set_is_refused_by_file_and_row_and_nothing_is_written(tmp_path, case):
    name, content, said = CASES[case]
    if name != "absent.tsv":
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=said):
        labelled(tmp_path, {"path": name})
    assert not (tmp_path / "run" / "examples-labelled").exists()
    write_tsv(tmp_path / "good.tsv", bank_rows())
    assert labelled(tmp_path, {"path": "good.tsv"}).manifest["rows"] == 24


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "x.tsv").write_bytes(b"text\tlabel\n\xff\xfe\tb\n")
    with pytest.raises(UserError, match=r"x\.tsv, row 2: is not UTF-8"):
        labelled(tmp_path, {"path": "x.tsv"})


@pytest.mark.bad_input("labelled set", "a verdict of NLI that is not known", "refused with the row")
def test_unknown_verdict_names_its_row(tmp_path):
    rows = nli_rows()
    rows[3]["label"] = "maybe"
    write_tsv(tmp_path / "nli.tsv", rows)
    with pytest.raises(UserError, match=r"nli\.tsv, row 5: the label 'maybe' is none of"):
        labelled(tmp_path, {"path": "nli.tsv", **NLI})


@pytest.mark.bad_input("labelled set", "no premise with both verdicts", "refused")
def test_no_premise_with_both_is_refused(tmp_path):
    write_jsonl(tmp_path / "x.jsonl", [row for row in nli_rows() if row["label"] != "neutral"][:2])
    with pytest.raises(UserError, match=r"x\.jsonl: no premise has both"):
        labelled(tmp_path, {"path": "x.jsonl", **NLI})


def test_labelled_texts_that_read_like_refusals_of_an_llm_stay(tmp_path):
    rows = bank_rows() + [{"text": f"Sorry, but I lost it {n}", "label": "lost"} for n in range(3)]
    write_jsonl(tmp_path / "x.jsonl", rows)
    assert labelled(tmp_path, {"path": "x.jsonl"}).manifest["rows"] == 27


def test_examples_that_hold_an_evaluation_query_are_dropped(tmp_path):
    mine = tmp_path / "tasks" / "mine"
    (mine / "qrels").mkdir(parents=True)
    write_jsonl(mine / "corpus.jsonl", [{"_id": "d", "title": "", "text": "A text."}])
    write_jsonl(mine / "queries.jsonl", [{"_id": "q", "text": "Message 0 that is about lost card"}])
    (mine / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td\t1\n")
    write_tsv(tmp_path / "train.tsv", bank_rows())
    evaluate = {"tasks": ["mine"], "task_data": str(tmp_path / "tasks")}
    stage = labelled(tmp_path, {"path": "train.tsv"}, evaluate=evaluate)
    texts = [
        t for r in stage.read_rows(EXAMPLES) for t in (r["query"], r["positive"], *r["negatives"])
    ]
    assert not any(text.startswith("Message 0 that is about lost card") for text in texts)
    dropped = stage.manifest["counts"]["dropped: holds an evaluation query"]
    assert dropped >= 1
    found = stage.manifest["figures"]["decontamination"]
    assert (found["tasks"], found["queries dropped"]) == ("mine", dropped)


def test_changed_file_is_another_set_and_a_moved_one_is_not(tmp_path):
    write_tsv(tmp_path / "a.tsv", bank_rows())
    before = labelled(tmp_path, {"path": "a.tsv"})
    (tmp_path / "a.tsv").rename(tmp_path / "b.tsv")
    assert labelled(tmp_path, {"path": "b.tsv"}) == before
    write_tsv(tmp_path / "b.tsv", bank_rows(7))
    with pytest.raises(UserError, match=r"changed: generate\.labelled\.sets"):
        labelled(tmp_path, {"path": "b.tsv"})


def test_layout_of_banking77(tmp_path, data_folder):
    """Its training split alone: test labels are for evaluation."""
    source = data_folder / "mteb" / "Banking77Classification" / "train.tsv"
    lines = source.read_text(encoding="utf-8").splitlines()
    drawn = random.Random(1).sample(lines[1:], 1500)
    (tmp_path / "train.tsv").write_text("\n".join([lines[0], *drawn]) + "\n", encoding="utf-8")
    stage = labelled(tmp_path, {"path": "train.tsv", "examples": 300})
    assert stage.manifest["rows"] == 300
