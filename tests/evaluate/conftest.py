"""A tiny retrieval collection in BEIR's layout, and a tiny model that carries prompts."""

import json
from pathlib import Path

import pytest
from tiny import TEXTS, tiny_encoder

PROMPTS = {"query": "tides follow: ", "document": "an owl and the moon: "}


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


@pytest.fixture
def task_data(tmp_path) -> Path:
    """A folder of tasks: a copy named as mteb's SciFact, and `mine`, judged on dev."""
    write_beir(tmp_path / "tasks" / "SciFact")
    write_beir(tmp_path / "tasks" / "mine", "dev", TEXTS[:8])
    return tmp_path / "tasks"


@pytest.fixture(scope="session")
def prompted_folder(tmp_path_factory) -> Path:
    """A model whose prompts turn its vectors well away from those of the bare texts."""
    return tiny_encoder(tmp_path_factory.mktemp("run") / "student", prompts=PROMPTS)


@pytest.fixture(scope="session")
def make_beir():
    """`write_beir`, for tests that need a collection of their own."""
    return write_beir
