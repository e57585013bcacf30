"""The recipes that come with distill, with their real models on a small share of their data."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from sentence_transformers import SentenceTransformer

RECIPES = Path(__file__).parent.parent / "recipes"
SMALL = {
    "corpus.limit": 120,
    "generate.passages": 16,
    "generate.shard_size": 8,
    "relabel.top_k": 4,
    "generate.filters.round_trip": "null",
    "train.align.passages": 60,
    "train.align.sentences": 120,
    "evaluate.speed_texts": 16,
}


def run(recipe: str, folder: Path, **sets: object) -> dict:
    options = [w for k, v in (SMALL | sets).items() for w in ("--set", f"{k}={v}")]
    command = [sys.executable, "-m", "distill.cli", "run", str(RECIPES / recipe)]
    done = subprocess.run(
        [*command, "--run", str(folder), *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "summary.json").read_text())


@pytest.mark.slow
def test_demo(tmp_path):
    summary = run("demo.yaml", tmp_path / "demo")
    assert summary["base"]["parameters"] == summary["student"]["parameters"]
    assert summary["student"]["parameters"] < summary["teacher"]["parameters"]
    assert 0.5 < summary["base"]["ndcg_at_10"] < summary["teacher"]["ndcg_at_10"]
    assert summary["student"]["ndcg_at_10"] > 0.5
    student = SentenceTransformer(str(tmp_path / "demo" / "student"))
    assert student.encode(["numpy"]).shape == (1, 384)
    assert "keeps" in (tmp_path / "demo" / "report.md").read_text()
