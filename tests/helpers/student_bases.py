"""An untrained student of tiny parts, and its vectors in a process without distill."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer

from distill.recipe import Recipe
from distill.store.run import Run
from distill.store.stage import ShardResult, Stage
from distill.store.tables import PASSAGES
from distill.student.build import build_base
from helpers.plain_process import run_plainly
from helpers.tiny_models import TEXTS

_ENCODE = """
import json, sys
from pathlib import Path
import numpy as np
from sentence_transformers import SentenceTransformer
given = json.loads(Path("given.json").read_text())
for name, folder in given["folders"].items():
    model = SentenceTransformer(folder, device="cpu", trust_remote_code=name in given["trusted"])
    np.save(f"{name}.npy", model.encode_query(given["texts"]))
    ours = [module for module in sys.modules if module.startswith("distill")]
    assert not ours or name in given["trusted"], ours
"""


def make_student_recipe(encoder: Path | str, **student: object) -> Recipe:
    section = {"encoder": str(encoder), "max_tokens": 64, **student}
    return Recipe.model_validate({"name": "tiny", "student": section})


def make_base(folder: Path, encoder: Path | str, **student: object) -> Stage:
    with Run(folder) as run:
        recipe = make_student_recipe(encoder, **student)
        return build_base(run, recipe.student, recipe.seed, write_passages(run))


def write_passages(run: Run, texts: list[str] = TEXTS) -> Stage:
    stage = run.open_stage("passages", {})
    rows = [
        {"passage_id": f"p{i}", "title": "", "text": text, "source": "hand"}
        for i, text in enumerate(texts)
    ]
    stage.map_shards(PASSAGES, [rows], ShardResult)
    stage.finish()
    return stage


def load_student(stage: Stage) -> SentenceTransformer:
    return SentenceTransformer(str(stage.folder), device="cpu")


def encode_elsewhere(
    folders: dict[str, Path], texts: list[str], scratch: Path, trusted: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Queries encoded by sentence-transformers alone, in a process of its own in another folder."""
    paths = {name: str(folder) for name, folder in folders.items()}
    given = {"folders": paths, "texts": texts, "trusted": list(trusted)}
    (scratch / "given.json").write_text(json.dumps(given))
    run_plainly(_ENCODE, scratch)
    return {name: np.load(scratch / f"{name}.npy") for name in folders}
