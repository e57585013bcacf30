"""A student of three of all-MiniLM-L6-v2's six layers, trained on the texts of SciFact, vaswani,
stackoverflow20 (titles) and docstrings, against its teacher: the share of the score kept on
SciFact, and on cacm, xquad/en and STSBenchmark, of which no text is trained on. The score is
nDCG@10, and Spearman's correlation for STSBenchmark. Needs DISTILL_DATA. Prints one JSON line.

    python benchmarks/students.py --run artifacts/students
"""

import csv
import json
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import click
import yaml

import distill
from distill.corpus.readers.jsonl import read_lines
from distill.files.atomic import read_json
from distill.store.tables import PASSAGES, join_passage, read_rows

RECIPES = Path(__file__).parent.parent / "recipes"
TASKS = {
    "SciFact": "mteb/SciFact",
    "cacm": "own/cacm",
    "xquad-en": "own/xquad/en",
    "STSBenchmark": "mteb/STSBenchmark",
}
DOCSTRINGS = 4000
TRAINED_ON = ("SciFact",)


@click.command()
@click.option(
    "--run", "folder", default=Path("artifacts/students"), type=click.Path(path_type=Path)
)
@click.option("--rows", type=int, help="At most so many of each source, and no docstrings.")
@click.option("--set", "sets", multiple=True, help="Override a key of the recipe.")
def main(folder: Path, rows: int | None, sets: tuple[str, ...]) -> None:
    data = Path(os.environ["DISTILL_DATA"])
    _write_corpus(folder, data, rows)
    _link_tasks(folder, data)
    recipe = folder / "students.yaml"
    recipe.write_text(yaml.safe_dump(_recipe(folder), sort_keys=False))
    run = folder / "run"
    distill.run(distill.load_recipe(recipe, sets), run, overwrite="stale")
    print(json.dumps(_figures(read_json(run / "summary.json"))))


def _write_corpus(folder: Path, data: Path, limit: int | None) -> None:
    corpus = folder / "corpus"
    if corpus.exists():
        return
    part = folder / "corpus.part"
    part.mkdir(parents=True, exist_ok=True)
    for name in ("mteb/SciFact", "own/vaswani"):
        rows = (row for _, row in read_lines(data / name / "corpus.jsonl"))
        texts = (f"{r.get('title') or ''}\n{r['text']}".strip() for r in rows)
        _write(part, Path(name).name, islice(texts, limit))
    with (data / "own/stackoverflow20/data.tsv").open(newline="") as file:
        titles = [row["text"] for row in csv.DictReader(file, delimiter="\t")]
    _write(part, "stackoverflow20", iter(titles[:limit]))
    if limit is None:
        _write(part, "docstrings", _docstrings(folder / "docstrings"))
    part.rename(corpus)


def _docstrings(run: Path) -> Iterator[str]:
    everything = [f"corpus.limit={DOCSTRINGS}", "corpus.held_out=0", "evaluate.tasks=[]"]
    distill.read_corpus(distill.load_recipe(RECIPES / "demo.yaml", everything), run)
    return (join_passage(row) for row in read_rows(PASSAGES, run / "passages"))


def _write(folder: Path, name: str, texts: Iterator[str]) -> None:
    with (folder / f"{name}.jsonl").open("w") as file:
        for number, text in enumerate(texts):
            file.write(json.dumps({"_id": f"{name}-{number}", "text": text}) + "\n")


def _link_tasks(folder: Path, data: Path) -> None:
    (folder / "tasks").mkdir(parents=True, exist_ok=True)
    for name, place in TASKS.items():
        link = folder / "tasks" / name
        if not link.exists():
            link.symlink_to(data / place)


def _recipe(folder: Path) -> dict[str, object]:
    """SciFact's recipe on the mixed corpus: alignment with all of its texts and with sentences."""
    recipe = yaml.safe_load((RECIPES / "scifact.yaml").read_text())
    corpus = str((folder / "corpus").resolve())
    recipe["name"] = "students"
    recipe["corpus"] = {"source": "jsonl", "path": corpus, "max_tokens": 100000, "min_words": 3}
    recipe["generate"]["passages"] = 300
    recipe["train"] |= {
        "epochs": 1.5,
        "dropout": 0.0,  # what the teacher says of a text is no noise to guard against
        "widths": None,
        "align": {"passages": 60000, "sentences": 10000, "batch_size": 32},
    }
    tasks = str((folder / "tasks").resolve())
    recipe["evaluate"] = {"tasks": list(TASKS), "task_data": tasks}
    return recipe


def _figures(summary: dict) -> dict[str, object]:
    student, teacher, base = (summary["models"][r] for r in ("student", "teacher", "base"))
    kept = {task: round(s / teacher["tasks"][task], 4) for task, s in student["tasks"].items()}
    return {
        "name": "students",
        "unit": "main score",
        "ours": student["tasks"],
        "peer": teacher["tasks"],
        "ratio": kept,
        "base": base["tasks"],
        "trained_on": list(TRAINED_ON),
        "parameters": student["parameters"],
        "speed_ratio": round(student["texts_per_second"] / teacher["texts_per_second"], 2),
        "peer_is": "the teacher",
    }


if __name__ == "__main__":
    main()
