"""Tiny tasks of every category in the layouts of folders, and a tiny model that carries prompts."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from helpers.tiny_models import TEXTS, make_tiny_encoder

PROMPTS = {"query": "tides follow: ", "document": "an owl and the moon: "}
QUERIES = [" ".join(text.split()[:4]) for text in TEXTS]
LABELS = ["body", "matter", "earth", "animal", "people", "matter"]
LABELS += ["earth", "matter", "animal", "matter", "people", "people"]


def write_beir(folder: Path, split: str = "test", texts=TEXTS) -> Path:
    """Every document's query is its first four words; the split is judged, nothing else."""
    (folder / "qrels").mkdir(parents=True)
    documents = [{"_id": f"d{i}", "title": "", "text": t} for i, t in enumerate(texts)]
    queries = [{"_id": f"q{i}", "text": " ".join(t.split()[:4])} for i, t in enumerate(texts)]
    for name, rows in (("corpus", documents), ("queries", queries)):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    judged = "".join(f"q{i}\td{i}\t1\n" for i in range(len(texts)))
    header = "query-id\tcorpus-id\tscore\n"
    (folder / "qrels" / f"{split}.tsv").write_text(header + judged, encoding="utf-8")
    return folder


def write_table(file: Path, header: Sequence[str], *columns: Sequence[object]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = [header, *zip(*columns, strict=True)]
    lines = "".join("\t".join(map(str, row)) + "\n" for row in rows)
    file.write_text(lines, encoding="utf-8")


def write_reranking(folder: Path, split: str = "test") -> None:
    """A query's own text among the three that follow it."""
    folder.mkdir(parents=True)
    rows = [
        {"query": QUERIES[i], "positive": [TEXTS[i]], "negative": (TEXTS[i + 1 :] + TEXTS)[:3]}
        for i in range(len(TEXTS))
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / f"{split}.jsonl").write_text(lines, encoding="utf-8")


def write_sts(folder: Path, split: str = "test") -> None:
    """The further apart in the list, the less alike: as good an order as any."""
    scores = [5 - i * 0.25 for i in range(len(TEXTS))]
    others = [TEXTS[i // 2] for i in range(len(TEXTS))]
    write_table(folder / f"{split}.tsv", ("sentence1", "sentence2", "score"), TEXTS, others, scores)


def write_classification(folder: Path, split: str = "test") -> None:
    write_table(folder / "train.tsv", ("text", "label"), TEXTS, LABELS)
    write_table(folder / f"{split}.tsv", ("text", "label"), QUERIES, LABELS)


def write_clustering(folder: Path) -> None:
    texts, labels = [*TEXTS, *QUERIES], [*LABELS, *LABELS]
    write_table(folder / "data.tsv", ("text", "label"), texts, labels)


def write_pairs(folder: Path) -> None:
    right = [(query, text, 1) for query, text in zip(QUERIES, TEXTS, strict=True)]
    wrong = [(query, text, 0) for query, text in zip(QUERIES, TEXTS[3:], strict=False)]
    columns = zip(*right, *wrong, strict=True)
    write_table(folder / "pairs.tsv", ("sent1", "sent2", "label"), *columns)


@pytest.fixture
def task_data(tmp_path) -> Path:
    """A folder of tasks: a copy named as mteb's SciFact, and `mine`, judged on dev."""
    write_beir(tmp_path / "tasks" / "SciFact")
    write_beir(tmp_path / "tasks" / "mine", "dev", TEXTS[:8])
    return tmp_path / "tasks"


@pytest.fixture
def every_kind(tmp_path) -> Path:
    """A folder with a task of the user's own of every category, named for it."""
    folder = tmp_path / "kinds"
    write_beir(folder / "retrieval")
    write_reranking(folder / "reranking")
    write_sts(folder / "sts")
    write_classification(folder / "classification")
    write_clustering(folder / "clustering")
    write_pairs(folder / "pairs")
    return folder


@pytest.fixture(scope="session")
def prompted_folder(tmp_path_factory) -> Path:
    """A model whose prompts turn its vectors well away from those of the bare texts."""
    return make_tiny_encoder(tmp_path_factory.mktemp("run") / "student", prompts=PROMPTS)


@pytest.fixture(scope="session")
def make_beir():
    """`write_beir`, for tests that need a collection of their own."""
    return write_beir
