"""What reading a corpus costs, and how much of it workers take off the process that writes.

    python benchmarks/read_corpus.py                    texts and rows
    python benchmarks/read_corpus.py --files 300 --rows 10000 --turns 1
    python benchmarks/read_corpus.py --ray              texts also by workers

Texts are a folder of Markdown and HTML files with twenty sections each, rows are JSON lines of 75
words. Prints one JSON line for each: seconds of this process's CPU, medians over the turns. Of
rows, `read` parses and checks them, `cut` splits texts, counts words and makes digests, which
workers could do, too, and `rest` keeps passages on disk and writes their table. `share_of_driver`
is what is left of `here` in this process while workers read.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from memory import WORDS

from distill.corpus.cut import DocumentCutter
from distill.corpus.passages import make_split_passages, open_source
from distill.corpus.readers.rows import Document
from distill.recipe import Recipe
from distill.store.run import Run
from distill.workers.local import LOCAL
from distill.workers.protocol import Workers
from distill.workers.ray_pool import ClusterSettings
from distill.workers.ray_team import RayWorkers

SECTIONS, WORDS_A_SECTION = 20, 75
NAVIGATION = "".join(f"<li><a href='/{word}'>{word}</a></li>" for word in WORDS[:60])
Seconds = defaultdict[str, list[float]]


def say(draw: random.Random) -> str:
    words = draw.choices(WORDS, k=WORDS_A_SECTION)
    sentences = [" ".join(words[at : at + 15]).capitalize() for at in range(0, len(words), 15)]
    return ". ".join(sentences) + "."


def write_folder(folder: Path, files: int) -> Path:
    draw = random.Random(0)
    for number in range(files):
        sections = [(f"Section {n}", say(draw)) for n in range(SECTIONS)]
        if number % 2:
            body = "".join(f"<h2>{head}</h2><p>{text}</p>" for head, text in sections)
            text = f"<html><body><nav><ul>{NAVIGATION}</ul></nav><main>{body}</main></body></html>"
        else:
            text = "\n\n".join(f"## {head}\n\n{text}" for head, text in sections)
        file = folder / f"{number % 10}" / f"{number:06}{'.html' if number % 2 else '.md'}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


def write_rows(file: Path, rows: int) -> Path:
    draw = random.Random(1)
    lines = ({"_id": f"d{number}", "title": "", "text": say(draw)} for number in range(rows))
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return file


def make_recipe(path: Path) -> Recipe:
    return Recipe.model_validate({"name": "x", "corpus": {"source": "auto", "path": str(path)}})


@contextmanager
def count_seconds(seconds: Seconds, name: str) -> Iterator[None]:
    began = time.process_time()
    yield
    seconds[name].append(time.process_time() - began)


def make_passages(recipe: Recipe, address: str | None = None) -> int:
    """Returns how many passages there are."""
    with tempfile.TemporaryDirectory() as folder, Run(Path(folder)) as run:
        workers: Workers = LOCAL
        if address is not None:
            workers = RayWorkers(ClusterSettings(address=address), run.folder)
        run.use_workers(workers)
        made = make_split_passages(run, recipe.corpus, recipe.seed, ())
        return int(made.passages.manifest["rows"])


def measure_texts(folder: Path, files: int, turns: int, on_ray: bool) -> None:
    recipe, seconds = make_recipe(write_folder(folder, files)), Seconds(list)
    passages = 0
    for _ in range(turns):
        with count_seconds(seconds, "here"):
            passages = make_passages(recipe)
        if on_ray:
            with count_seconds(seconds, "driver"):
                make_passages(recipe, "local")
    figures = {name: round(statistics.median(each), 2) for name, each in seconds.items()}
    if on_ray:
        figures["share_of_driver"] = round(figures["driver"] / figures["here"], 3)
    print(json.dumps({"name": f"{files} files of texts", "passages": passages, **figures}))


def measure_rows(file: Path, rows: int, turns: int) -> None:
    recipe, seconds = make_recipe(write_rows(file, rows)), Seconds(list)
    for _ in range(turns):
        source = open_source(recipe.corpus, recipe.seed)
        with count_seconds(seconds, "read"):
            documents = [one for one in source.read() if isinstance(one, Document)]
        cutter = DocumentCutter(recipe.corpus, recipe.seed, source.titles_are_prose)
        with count_seconds(seconds, "cut"):
            for document in documents:
                cutter.cut(document)
        with count_seconds(seconds, "here"):
            make_passages(recipe)
    figures = {name: round(statistics.median(each), 2) for name, each in seconds.items()}
    figures["rest"] = round(figures["here"] - figures["read"] - figures["cut"], 2)
    figures["share_of_cutting"] = round(figures["cut"] / figures["here"], 3)
    print(json.dumps({"name": f"{rows} rows", **figures}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--ray", action="store_true", help="also by workers of this machine")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure_texts(Path(folder) / "texts", given.files, given.turns, given.ray)
        measure_rows(Path(folder) / "rows.jsonl", given.rows, given.turns)


if __name__ == "__main__":
    main()
