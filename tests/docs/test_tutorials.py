"""The tutorials, carried out as a reader would: files are written by their blocks, commands are run
one after the other, with tiny models in the place of those that they name."""

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from helpers.fake_server import MODEL, Server, TinyModel, serve
from helpers.fresh_process import run_distill
from helpers.tiny_models import TEXTS

from .markdown import ROOT, read_blocks, read_commands

FOLDER = ROOT / "docs" / "tutorials"
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
PROMPT = "generate.prompt"
TAKES_A_RECIPE = {"check", "corpus", "generate", "estimate", "relabel", "train-student", "run"}
SMALL = {
    "corpus.max_tokens": 40,
    "llm.engine": "transformers",
    "llm.base_url": "null",
    "llm.dtype": "float32",
    "llm.device": "cpu",
    "generate.passages": 16,
    "generate.max_new_tokens": 40,
    # The tiny writer knows a dozen English sentences, and its queries are words of them.
    "generate.languages": "[]",
    "generate.filters.languages": "null",
    "generate.filters.round_trip": "null",
    "generate.filters.max_copied": "null",
    "generate.filters.decontaminate": "false",
    "retriever.max_tokens": 32,
    "retriever.device": "cpu",
    "relabel.top_k": 4,
    "relabel.negative_count": 1,
    "teacher.base_url": "null",
    "teacher.max_tokens": 32,
    "teacher.device": "cpu",
    "student.max_tokens": 32,
    "train.epochs": 1,
    "train.batch_size": 4,
    "train.dtype": "float32",
    "train.device": "cpu",
    "train.align.passages": 12,
    "train.align.sentences": 12,
    "evaluate.speed_texts": 8,
}


OF_ONE = {
    "markdown-folder": {"student.dimensions": 48},  # the tiny teacher's width
    # The tiny writer's queries are much alike.
    "no-labels": {
        "evaluate.judged.near_duplicates": 0.99,
        "evaluate.judged.queries": 6,
        "evaluate.judged.judge": "rc",
    },
    "shrink-an-api": {"student.dimensions": 48},  # the tiny teacher's width
    "adapt": {"student.dimensions": 48, "relabel.negative_count": 0},
}
"""Settings of single tutorials."""


class TinyModels(NamedTuple):
    prompt: Path
    llm: Path
    encoder: Path
    teacher: Path

    def settings(self, tutorial: str) -> dict[str, object]:
        models = {
            "llm.model": self.llm,
            PROMPT: self.prompt,
            "retriever.model": self.encoder,
            "teacher.model": self.teacher,
            "student.encoder": self.encoder,
            "student.layers": "[0, 2]",
        }
        return SMALL | models | OF_ONE.get(tutorial, {})


@pytest.fixture
def tiny(recipe_file, writer_folder, encoder_folder, teacher_folder) -> TinyModels:
    return TinyModels(
        recipe_file.parent / "short.jinja", writer_folder, encoder_folder, teacher_folder
    )


def write_notes() -> None:
    for number, text in enumerate(TEXTS):
        file = Path("notes") / f"chapter-{number % 3}" / f"note-{number}.md"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"# Note {number}\n\n{text}\n\n## More\n\n{TEXTS[number - 1]}\n")


def write_code() -> None:
    Path("src").mkdir()
    for number, text in enumerate(TEXTS):
        body = f'def note_{number}(x: int) -> int:\n    """{text}"""\n    return x + {number}\n'
        (Path("src") / f"note_{number}.py").write_text(body)


def write_corpus() -> None:
    pairs = [(a, b) for a in TEXTS for b in TEXTS[:3] if a != b]
    rows = [{"_id": f"p{n}", "title": "", "text": f"{a} {b}"} for n, (a, b) in enumerate(pairs)]
    Path("docs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_documents() -> None:
    """A folder of texts with one paragraph each."""
    Path("docs").mkdir()
    pairs = [(a, b) for a in TEXTS for b in TEXTS[:3] if a != b]
    for number, (a, b) in enumerate(pairs):
        Path(f"docs/{number}.txt").write_text(f"{a} {b}\n")


def write_questions() -> None:
    write_corpus()
    with open("questions.csv", "w", newline="") as file:
        table = csv.DictWriter(file, ["question", "doc_id"])
        table.writeheader()
        table.writerows({"question": f"where is {n}", "doc_id": f"p{n}"} for n in range(20))


TUTORIALS: dict[str, Callable[[], None]] = {
    "markdown-folder": write_notes,
    "adapt": write_corpus,
    "no-labels": write_documents,
    "labelled-queries": write_questions,
    "llm-server": write_corpus,
    "shrink-an-api": write_questions,
    "other-languages": write_corpus,
    "code-search": write_code,
}
"""Each tutorial that is carried out, and what its reader has before."""


def test_every_tutorial_is_carried_out():
    written = {path.stem for path in FOLDER.glob("*.md")}
    assert written - {"read-the-report", "own-parts"} == TUTORIALS.keys()


@pytest.fixture
def server(writer_folder) -> Iterator[Server]:
    """An OpenAI-compatible server with the tiny writer."""
    with serve(TinyModel(writer_folder)) as server:
        yield server


@pytest.mark.slow
@pytest.mark.parametrize("name", TUTORIALS)
def test_tutorial(name, tiny, server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    TUTORIALS[name]()
    settings = tiny.settings(name)
    if name == "llm-server":
        served = {"llm.engine": "http", "llm.base_url": server.url, "llm.concurrency": 2}
        settings |= served | {"llm.model": MODEL, "llm.prompt_format": "completion"}
    done: list[str] = []
    for block in read_blocks(FOLDER / f"{name}.md"):
        if block.title:
            text = block.text.replace(MINILM, str(tiny.teacher))
            Path(block.title).write_text(text.replace("Qwen/Qwen2.5-7B-Instruct:", f"{MODEL}:"))
        elif block.language == "bash":
            done += filter(None, (run(words, tiny, settings) for words in read_commands(block)))
    if name == "no-labels":
        assert "unverified" in Path("artifacts/mine/report.md").read_text().casefold()
    if name == "llm-server":
        assert (tmp_path / "artifacts" / "mine" / "requests.sqlite").is_file()
    assert {"train-student", "run"} & set(done)
    assert list((tmp_path / "artifacts" / "mine" / "student").rglob("model.safetensors"))


@pytest.mark.slow
def test_tutorials_own_prompt_is_shown(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_notes()
    for block in read_blocks(FOLDER / "own-parts.md"):
        if block.title:
            Path(block.title).write_text(block.text)
    settings = {key: value for key, value in tiny.settings("own-parts").items() if key != PROMPT}
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    done = run_distill("generate", "mine.yaml", "--show-prompt", "0", *words)
    assert done.returncode == 0, done.stderr
    assert "Write the question of a technician" in done.stdout


def run(words: list[str], tiny: TinyModels, settings: Mapping[str, object]) -> str | None:
    """Carry out one command of a page; its name, or None where it is of another program, or asks a
    server that the test has not."""
    if words[0] == "python":
        run_script(words[1])
        return words[1]
    if words[0] != "distill" or "--base-url" in words:
        return None
    if words[1] == "judge" and "--csv" not in words:
        return None  # asks a person
    command, rest = words[1], [word.replace(MINILM, str(tiny.teacher)) for word in words[2:]]
    if command in TAKES_A_RECIPE and "mine.yaml" in rest:
        rest += [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    done = run_distill(command, *rest)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stderr[-2000:]}"
    return command


def run_script(name: str) -> str:
    done = subprocess.run([sys.executable, name], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_tutorials_are_linked_from_the_readme():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\(docs/tutorials/([\w-]+)\.md\)", text))
    assert linked == TUTORIALS.keys()
