"""A tiny student with a projection and prompts, inside a run that has all that a card tells of."""

from pathlib import Path

import pytest
import torch
import yaml
from helpers.label_rows import OF_TEXTS, make_label, make_query, prepare_labels
from helpers.tiny_models import TEXTS
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize
from torch import nn

from distill.evaluate.summary import SCHEMA
from distill.files.atomic import write_json
from distill.store.run import Run
from distill.tasks import load_task

PROMPTS = {"query": "tides follow: ", "document": "an owl: "}


def projected(folder: Path, encoder: Path, activation: nn.Module | None = None) -> Path:
    """The tiny encoder with a layer from its 32 dimensions to 24."""
    model = SentenceTransformer(str(encoder), device="cpu")
    torch.manual_seed(5)
    # Untrained vectors all lie in one place, where rounding alone would order them.
    model[0].auto_model.embeddings.word_embeddings.weight.data *= 40
    dense = Dense(32, 24, bias=True, activation_function=activation or nn.Identity())
    modules = [model[0], model[1], dense, Normalize()]
    made = SentenceTransformer(modules=modules, prompts=PROMPTS, similarity_fn_name="cosine")
    made.save_pretrained(str(folder), create_model_card=False)
    return folder


def write_task(folder: Path) -> Path:
    """Each text's query is its beginning."""
    (folder / "qrels").mkdir(parents=True)
    rows = [(f"{i}", text) for i, text in enumerate(TEXTS)]
    corpus = "".join(f'{{"_id": "d{i}", "title": "", "text": "{text}"}}\n' for i, text in rows)
    asked = [(i, " ".join(text.split()[:9])) for i, text in rows]
    queries = "".join(f'{{"_id": "q{i}", "text": "{text}"}}\n' for i, text in asked)
    judged = "".join(f"q{i}\td{i}\t1\n" for i, _ in rows)
    (folder / "corpus.jsonl").write_text(corpus)
    (folder / "queries.jsonl").write_text(queries)
    (folder / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    return folder


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory, encoder_folder) -> Path:
    return projected(tmp_path_factory.mktemp("models") / "projected", encoder_folder)


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory, model_folder, teacher_folder) -> Path:
    """Passages, queries, a student and a verdict; no stage was computed but the tables are real."""
    folder = tmp_path_factory.mktemp("runs") / "bees"
    with Run(folder) as run:
        prepared = prepare_labels(run, [make_query("q")], [[make_label("a", 1.0, 1)]])
        student = run.open_stage("student", {}, [prepared.passages, prepared.queries])
        student.finish(texts=12)
        evaluation = run.open_stage("evaluation", {}, [student])
        write_json(evaluation.folder / "summary.json", _summary())
        evaluation.finish()
    _copy(model_folder, folder / "student")
    write_task(folder / "tasks" / "mine")
    recipe = {
        "name": "bees",
        "corpus": {"source": "jsonl", "path": str(folder / "secret-place" / "notes.jsonl")},
        "llm": {"engine": "http", "model": "writer", "base_url": "http://localhost:1/v1"},
        "teacher": {"model": str(teacher_folder)},
        "student": {"encoder": "someone/encoder"},
        "evaluate": {"tasks": ["mine"], "task_data": str(folder / "tasks")},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder


def _copy(source: Path, target: Path) -> None:
    for path in source.rglob("*"):
        if path.is_file():
            (target / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
            (target / path.relative_to(source)).write_bytes(path.read_bytes())


def _summary() -> dict:
    of = {"category": "Retrieval", "metric": "ndcg_at_10", "revision": "local-1", "items": 12}
    return {
        "schema": SCHEMA,
        "mteb": "2.26.0",
        "tasks": {"mine": of},
        "models": {
            role: {"tasks": {"mine": score}, "score": score}
            for role, score in (("base", 0.25), ("student", 0.4321), ("teacher", 0.5))
        }
        | {
            role: {"tasks": {"mine": score}, "score": score, "baseline": True}
            for role, score in (("bm25", 0.3), ("student + bm25", 0.45))
        },
        "kept": 0.8642,
        "differences": {},
    }


@pytest.fixture(scope="session")
def texts() -> dict[str, list[str]]:
    """Of lengths from one token to beyond the limit, so that each batch has padding."""
    return {"query": ["why", *TEXTS[:3]], "document": [*OF_TEXTS.values(), "bees " * 300]}


@pytest.fixture(scope="session")
def make_projected():
    """`projected`, for a test that needs a layer which bends."""
    return lambda folder, encoder, bent: projected(folder, encoder, nn.Tanh() if bent else None)


@pytest.fixture(scope="session")
def make_task(run_folder):
    """The run's task, opened anew."""
    return lambda: load_task("mine", run_folder / "tasks")
