"""Official data as it is, with empty texts and judgements of what is not there, scores as mteb's
own loader makes it score."""

import json
from pathlib import Path

import pytest
from helpers.task_folders import write_beir
from helpers.tiny_models import TEXTS
from sentence_transformers import SentenceTransformer

from distill.evaluate.models.eval_model import load_eval_model
from distill.evaluate.score import score_tasks
from distill.tasks import load_task

mteb = pytest.importorskip("mteb")

_CONFIGS = """---
configs:
- config_name: corpus
  data_files: corpus.jsonl
- config_name: queries
  data_files: queries.jsonl
- config_name: default
  data_files: qrels.jsonl
---
"""


def append(file: Path, *lines: str) -> None:
    file.write_text(file.read_text(encoding="utf-8") + "".join(f"{line}\n" for line in lines))


def of_hub(folder: Path, target: Path) -> Path:
    """The same data laid out as a dataset of the hub, for mteb's own loader."""
    target.mkdir()
    for name in ("corpus", "queries"):
        (target / f"{name}.jsonl").write_bytes((folder / f"{name}.jsonl").read_bytes())
    rows = (folder / "qrels" / "test.tsv").read_text().splitlines()[1:]
    keys = ("query-id", "corpus-id", "score")
    judged = [dict(zip(keys, row.split("\t"), strict=True)) for row in rows]
    lines = [json.dumps(row | {"score": int(row["score"])}) for row in judged]
    (target / "qrels.jsonl").write_text("\n".join(lines))
    (target / "README.md").write_text(_CONFIGS)
    return target


def by_mteb(folder: Path, name: str, model: Path) -> dict[str, float]:
    """The scores of the task as mteb reads it by itself, from a dataset in a folder."""
    task = mteb.get_task(name)
    source = {"path": str(folder), "revision": "main"}
    task.metadata = task.metadata.model_copy(update={"dataset": source})
    found = mteb.evaluate(
        SentenceTransformer(str(model)),
        task,
        cache=None,
        co2_tracker=False,
        show_progress_bar=False,
    )
    return found.task_results[0].scores["test"][0]


FAULTS = {
    "empty": "documents and queries without text",
    "document": "a judgement of a document that is not there",
    "query": "a judgement of a query that is not there",
    "twice": "a pair that is judged twice",
    "unjudged": "a query of which nothing is relevant",
}


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(
            name, marks=pytest.mark.bad_input("official task", says, "scored as mteb scores it")
        )
        for name, says in FAULTS.items()
    ],
)
def test_retrieval_scores_are_mtebs(tmp_path, encoder_folder, monkeypatch, fault):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    folder = write_beir(tmp_path / "tasks" / "SciFact")
    qrels = folder / "qrels" / "test.tsv"
    if fault == "empty":
        append(folder / "corpus.jsonl", '{"_id": "e1", "title": "", "text": ""}')
        append(folder / "queries.jsonl", '{"_id": "qe", "text": ""}')
        append(qrels, "qe\te1\t1")
    elif fault == "document":
        append(qrels, "q1\tnone\t1", "q2\tnone\t2")
    elif fault == "query":
        append(qrels, "none\td1\t1")
    elif fault == "twice":
        append(qrels, "q1\td1\t0", "q1\td2\t2")
    else:
        append(folder / "queries.jsonl", '{"_id": "q0a", "text": "an owl at night"}')
        append(qrels, "q0a\td1\t0", "q0a\td2\t-1")
    expected = by_mteb(of_hub(folder, tmp_path / "hub"), "SciFact", encoder_folder)
    task = load_task("SciFact", tmp_path / "tasks")
    (found,) = score_tasks(load_eval_model(encoder_folder), [task], tmp_path / "results")
    assert found.score == pytest.approx(expected["ndcg_at_10"], abs=1e-5)
    assert sum(found.by_item.values()) / len(found.by_item) == pytest.approx(found.score, abs=1e-4)


def test_reranking_passes_over_what_mteb_does(tmp_path, caplog):
    rows = [
        {"query": "", "positive": [TEXTS[0], ""], "negative": [TEXTS[1]]},
        {"query": "none", "positive": [], "negative": [TEXTS[1]]},
        {"query": "sea", "positive": [TEXTS[2]], "negative": [TEXTS[3]]},
    ]
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = load_task("mine", tmp_path).dataset["default"]["test"]
    assert data["queries"]["id"] == ["test_query0", "test_query1"]
    assert data["queries"]["text"] == ["", "sea"]
    assert "1 rows have no positive" in caplog.text


@pytest.mark.bad_input("official task", "an empty text in a table", "read as it is, as mteb does")
def test_empty_texts_of_tables_are_read(every_kind):
    for kind, row in (("sts", "\tnight\t1.5"), ("pairs", "\tnight\t0"), ("clustering", "\tearth")):
        name = {"sts": "test.tsv", "pairs": "pairs.tsv", "clustering": "data.tsv"}[kind]
        append(every_kind / kind / name, row)
        load_task(kind, every_kind)
