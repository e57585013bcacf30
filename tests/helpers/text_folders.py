"""Folders of text files of several forms, and the tables that a corpus of them gives."""

import random
from pathlib import Path
from typing import Any

from distill.corpus.passages import make_split_passages
from distill.recipe import Recipe
from distill.store.run import Run
from distill.workers.local import LOCAL
from distill.workers.protocol import Workers
from helpers.document_files import make_docx, make_pdf
from helpers.written_files import read_tables

_SENTENCE = "bees dance in the dark hive and tell others where nectar flows after rain"


def write_text_folder(folder: Path, files: int = 12) -> Path:
    """Write files of each form in turn: some sections are long, some short, some twice."""
    draw = random.Random(3)

    def say(sentences: int) -> str:
        return " ".join(
            f"{' '.join(draw.choices(_SENTENCE.split(), k=9))}." for _ in range(sentences)
        )

    makers = [
        lambda n: (".md", f"# File {n}\n\n{say(9)}\n\n## Short\n\nBees.\n\n# Same\n\nThey dance."),
        lambda n: (".html", f"<h1>File {n}</h1><p>{say(4)}</p><h2>Rain</h2><p>{say(2)}</p>"),
        lambda n: (".pdf", make_pdf([[say(1), say(1)], [say(1)]], title=f"File {n}")),
        lambda n: (".txt", f"{say(3)}\n"),
        lambda n: (".docx", make_docx([("Title", f"File {n}"), ("Normal", say(2))])),
        lambda n: (".rst", f"File {n}\n=======\n\n{say(2)}\n"),
    ]
    for number in range(files):
        ending, content = makers[number % len(makers)](number)
        file = folder / f"part {number % 3}" / f"{number:03}{ending}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def write_bad_files(folder: Path) -> Path:
    """Write files that cannot be read, and one without text, among those of a folder."""
    (folder / "part 0" / "000-latin.md").write_bytes(b"Bees dance in the caf\xe9.")
    (folder / "part 1" / "scan.pdf").write_bytes(make_pdf([[]]))
    (folder / "part 2" / "empty.html").write_text("<p></p>")
    return folder


def make_text_recipe(folder: Path, **corpus: Any) -> Recipe:
    """A recipe that cuts long sections and holds some files out."""
    values = {"source": "auto", "path": str(folder), "max_tokens": 24, "min_words": 2}
    values |= {"held_out": 0.4} | corpus
    return Recipe.model_validate({"name": "texts", "seed": 5, "corpus": values})


def make_tables(run: Path, recipe: Recipe, workers: Workers = LOCAL) -> dict[str, bytes]:
    """The tables `passages`, `passages-held-out` and those of dropped rows, by name."""
    with Run(run) as opened:
        if workers is not LOCAL:
            opened.use_workers(workers)
        make_split_passages(opened, recipe.corpus, recipe.seed, ())
    return read_tables(run)
