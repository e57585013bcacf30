"""Queries that a static query encoder embeds a second on one thread, and what they cost: the
teacher, the static encoder through sentence-transformers, the tokenizer by itself, and the lines of
an exported index (`encode.py`), in turns and in one process. `batch`: many queries a call;
`single`: one a call, as a search does. Prints one JSON line; a ratio is of the medians.

    DISTILL_DATA=... python benchmarks/worth.py cacm --static
    python benchmarks/static_speed.py artifacts/worth/cacm-static-13
"""

import importlib.util
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from types import ModuleType

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import click
import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer

from distill.api.run_folder import open_run
from distill.evaluate.models.run_models import RunModelSettings, load_run_models
from distill.export import search_index
from distill.models.sentence_transformer import get_query_modules
from distill.store.tables import QUERIES, read_rows

Encode = Callable[[list[str]], object]
FEW = 200
"""Queries of a turn where one at a time is embedded, and of the teacher's."""


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.option("--queries", default=5000, show_default=True)
@click.option("--turns", default=5, show_default=True)
def main(folder: Path, queries: int, turns: int) -> None:
    torch.set_num_threads(1)
    texts = [row["query"] for row in islice(read_rows(QUERIES, folder / "queries"), queries)]
    settings = RunModelSettings.select(open_run(folder).recipe)
    teacher = load_run_models(settings, {})["teacher"].model
    if teacher is None:
        raise click.UsageError(f"the teacher of {folder} is behind a server")
    student = SentenceTransformer(str(folder / "student"), device="cpu")
    with tempfile.TemporaryDirectory() as name:
        lines = load_lines(folder / "student", Path(name))
    check_same(student, lines, texts[:FEW])
    (static, *_) = get_query_modules(student).children()
    if not isinstance(static, StaticEmbedding):
        raise click.UsageError(f"{folder} has no static query encoder: run worth.py --static")
    tokenizer = static.tokenizer
    of_batches = measure(list_batch_calls(teacher, student, tokenizer, lines), texts, turns)
    of_single = measure(list_single_calls(teacher, student, tokenizer, lines), texts[:FEW], turns)
    by_way = {"batch": of_batches, "single": of_single}
    line = {
        "name": f"static speed: {folder.name}",
        "unit": "queries/s",
        "ours": round(of_batches["lines"]),
        "peer": round(of_batches["teacher"]),
        "peer_is": "the teacher",
        "ratio": round(of_batches["lines"] / of_batches["teacher"]),
        "batch": {role: round(rate) for role, rate in of_batches.items()},
        "single": {role: round(rate) for role, rate in of_single.items()},
        "ratios": {
            way: {role: round(rate / of["teacher"]) for role, rate in of.items()}
            for way, of in by_way.items()
        },
        "queries": len(texts),
        "threads": 1,
    }
    print(json.dumps(line))


def load_lines(student: Path, folder: Path) -> ModuleType:
    """The module `encode.py` of an exported index, beside a copy of the query encoder."""
    (place,) = student.glob("query_*_StaticEmbedding")
    shutil.copytree(place, folder / "query_encoder" / place.name)
    path = Path(search_index.__file__).parent / "templates" / "encode.py"
    shutil.copy(path, folder)
    spec = importlib.util.spec_from_file_location("encode", folder / "encode.py")
    if spec is None or spec.loader is None:
        raise ImportError(str(path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check_same(student: SentenceTransformer, lines: ModuleType, texts: list[str]) -> None:
    """Both ways give the same vectors."""
    theirs = student.encode_query(texts, show_progress_bar=False)
    for ours in (lines.encode_queries(texts), [lines.encode_query(text) for text in texts]):
        np.testing.assert_allclose(np.asarray(ours), theirs, atol=1e-5)


def list_batch_calls(
    teacher: SentenceTransformer,
    student: SentenceTransformer,
    tokenizer: Tokenizer,
    lines: ModuleType,
) -> dict[str, Encode]:
    """Each way to embed many queries; the teacher gets few of them."""
    return {
        "teacher": lambda texts: teacher.encode_query(texts[:FEW], show_progress_bar=False),
        "sentence-transformers": lambda texts: student.encode_query(texts, show_progress_bar=False),
        "tokenizer": lambda texts: tokenizer.encode_batch_fast(texts, add_special_tokens=False),
        "lines": lines.encode_queries,
    }


def list_single_calls(
    teacher: SentenceTransformer,
    student: SentenceTransformer,
    tokenizer: Tokenizer,
    lines: ModuleType,
) -> dict[str, Encode]:
    """Each way to embed one query after the other."""
    return {
        "teacher": lambda texts: [
            teacher.encode_query(text, show_progress_bar=False) for text in texts
        ],
        "sentence-transformers": lambda texts: [
            student.encode_query(text, show_progress_bar=False) for text in texts
        ],
        "tokenizer": lambda texts: [
            tokenizer.encode(text, add_special_tokens=False) for text in texts
        ],
        "lines": lambda texts: [lines.encode_query(text) for text in texts],
    }


def measure(calls: dict[str, Encode], texts: list[str], turns: int) -> dict[str, float]:
    """The median rate of each way, in turns; the first turn is not counted."""
    rates: dict[str, list[float]] = {role: [] for role in calls}
    for turn in range(turns + 1):
        for role, encode in calls.items():
            count = min(FEW, len(texts)) if role == "teacher" else len(texts)
            taken = time_call(encode, texts)
            if turn:
                rates[role].append(count / taken)
    return {role: statistics.median(of) for role, of in rates.items()}


def time_call(encode: Encode, texts: Sequence[str]) -> float:
    """Seconds of processor time: other work on the machine does not count."""
    begun = time.process_time()
    encode([*texts])
    return time.process_time() - begun


if __name__ == "__main__":
    main()
