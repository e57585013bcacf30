"""Serving: a student of three of all-MiniLM-L6-v2's six layers, in the int8 form that `distill
export` would ship for cacm and run as its model card says, against its teacher in torch through
sentence-transformers. The same documents of cacm, at most 64 tokens of each, two threads, turn and
turn about.

    python benchmarks/serve.py --student artifacts/demo/student
    python benchmarks/serve.py --quick            fewer texts; vectors choose the form

Needs DISTILL_DATA. Without --student the student is the untrained base, whose speed is the same and
whose nDCG@10 says nothing. `throughput`: all texts given at once; the teacher batches by 32, as
sentence-transformers does by itself, the student by a budget of tokens; both sort by length.
`batch_32`, `batch_1`: so many texts a call. A ratio is the teacher's time by the student's, the
median over the turns; `cpu_ratio` the same of processor time, which other work on the machine
moves less. Where the extra `openvino` is installed, the student is measured in that form too.
Prints one JSON line.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import distill  # noqa: F401  (before torch: it settles how OpenMP waits)

os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")

import click
import numpy as np
import torch
from mteb.abstasks import AbsTask
from sentence_transformers import SentenceTransformer
from tokenizers import Encoding, Tokenizer

from distill.corpus.readers.jsonl import read_lines
from distill.export.graph import start_graph
from distill.export.int8 import write_int8, write_openvino
from distill.export.parity import is_int8_near, refuse_int8, score_on_task
from distill.models.reference import resolve
from distill.models.sentence_transformer import load_sentence_model
from distill.recipe import load_recipe
from distill.store.tables import join_passage
from distill.student.build import build_student
from distill.tasks import load_task

THREADS = 2
MAX_TOKENS = 64
ROUNDS = 3
BATCH_TOKENS = 1024
DEMO = Path(__file__).parent.parent / "recipes" / "demo.yaml"

Encode = Callable[[list[str]], np.ndarray]


class Served:
    """An exported graph with its tokenizer, and nothing else."""

    def __init__(self, graph: Path, tokenizer: Path) -> None:
        self.graph = start_graph(graph, THREADS)
        self.tokenizer = Tokenizer.from_file(str(tokenizer))
        self.tokenizer.enable_truncation(MAX_TOKENS)
        self.tokenizer.no_padding()

    def encode(self, texts: list[str]) -> np.ndarray:
        encoded = self.tokenizer.encode_batch(texts)
        parts = [(batch, self._run([encoded[i] for i in batch])) for batch in _batches(encoded)]
        vectors = np.empty((len(texts), parts[0][1].shape[1]), np.float32)
        for batch, found in parts:
            vectors[batch] = found
        return vectors

    def _run(self, batch: list[Encoding]) -> np.ndarray:
        ids = np.zeros((len(batch), max(len(text.ids) for text in batch)), np.int64)
        mask = np.zeros_like(ids)
        for row, text in enumerate(batch):
            ids[row, : len(text.ids)] = text.ids
            mask[row, : len(text.ids)] = 1
        return self.graph({"input_ids": ids, "attention_mask": mask})


def _batches(encoded: list[Encoding]) -> Iterator[list[int]]:
    """Longest first, so that a batch wastes little padding, and small enough for the caches."""
    order = sorted(range(len(encoded)), key=lambda i: -len(encoded[i].ids))
    while order:
        size = max(1, BATCH_TOKENS // len(encoded[order[0]].ids))
        yield order[:size]
        order = order[size:]


def in_calls(encode: Encode, size: int) -> Encode:
    """The same, so many texts a call."""

    def run(texts: list[str]) -> np.ndarray:
        parts = [encode(texts[i : i + size]) for i in range(0, len(texts), size)]
        return np.concatenate(parts)

    return run


def measure(ours: Encode, peer: Encode, texts: list[str]) -> dict[str, float]:
    """Turn and turn about; the first turn of each is not counted."""
    taken: dict[str, list[tuple[float, float]]] = {"ours": [], "peer": []}
    for turn in range(ROUNDS + 1):
        for name, encode in (("ours", ours), ("peer", peer)):
            begun, cpu_begun = time.perf_counter(), time.process_time()
            encode(texts)
            spent = (time.perf_counter() - begun, time.process_time() - cpu_begun)
            if turn:
                taken[name].append(spent)
    wall, cpu = (
        {n: statistics.median(t[i] for t in ts) for n, ts in taken.items()} for i in (0, 1)
    )
    return {
        "ours": round(len(texts) / wall["ours"], 1),
        "peer": round(len(texts) / wall["peer"], 1),
        "ratio": round(wall["peer"] / wall["ours"], 2),
        "cpu_ratio": round(cpu["peer"] / cpu["ours"], 2),
    }


def documents(folder: Path, count: int) -> list[str]:
    """Evenly spread over the corpus."""
    rows = [row for _, row in read_lines(folder / "corpus.jsonl")]
    step = max(1, len(rows) // count)
    return [join_passage({"title": row.get("title") or "", **row}) for row in rows[::step]][:count]


@click.command()
@click.option("--student", type=click.Path(path_type=Path), help="A trained student's folder.")
@click.option("--quick", is_flag=True, help="Fewer texts, no evaluation.")
@click.option("--smoke", is_flag=True, help="The smallest size: its figures mean nothing.")
def main(student: Path | None, quick: bool, smoke: bool) -> None:
    if "DISTILL_DATA" not in os.environ:
        raise click.UsageError("set DISTILL_DATA to the folder of evaluation data")
    data = Path(os.environ["DISTILL_DATA"]) / "own"
    torch.set_num_threads(THREADS)
    recipe = load_recipe(DEMO)
    teacher = SentenceTransformer(str(resolve(str(recipe.teacher.model))), device="cpu")
    model = load_sentence_model(student, "cpu") if student else build_student(recipe.student, 13)
    for each in (teacher, model):
        each.eval()
        each.max_seq_length = MAX_TOKENS
    quick = quick or smoke
    texts = documents(data / "cacm", 8 if smoke else 64 if quick else 128)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        task = None if quick else load_task("cacm", data)
        form, parity = write_int8(model, folder / "int8.onnx", {"document": texts[:64]}, task)
        refuse_int8(parity, "int8")
        model.tokenizer.save_pretrained(folder)
        served = Served(folder / "int8.onnx", folder / "tokenizer.json")
        figures = _speed(served.encode, teacher, texts)
        size = (folder / "int8.onnx").stat().st_size
        openvino = None
        if find_spec("openvino") and find_spec("nncf"):
            openvino = _compare_openvino(model, folder, texts, task, teacher, served)
    scores = {
        "ours": parity.score,
        "ours_in_float": parity.score_of_model,
        "peer": None if task is None else score_on_task(teacher, task),
    }
    line = {
        "name": "serve",
        "unit": "texts/s",
        **figures.pop("throughput"),
        **figures,
        "peer_is": "all-MiniLM-L6-v2 in torch, through sentence-transformers",
        "student": str(student) if student else "untrained: three layers of the teacher",
        "form": str(form),
        "texts": len(texts),
        "max_tokens": MAX_TOKENS,
        "threads": THREADS,
        "omp_wait_policy": os.environ["OMP_WAIT_POLICY"],
        "cosine_int8_to_float": round(parity.cosine_mean, 5),
        "ndcg_at_10": scores,
        "bytes": size,
        "openvino": openvino,
        "quick": quick,
    }
    print(json.dumps(line))


def _compare_openvino(
    model: SentenceTransformer,
    folder: Path,
    texts: list[str],
    task: AbsTask | None,
    teacher: SentenceTransformer,
    onnx: Served,
) -> dict[str, object]:
    """The same student in 8 bits of OpenVINO: against the teacher, and against ONNX int8."""
    form, parity = write_openvino(model, folder / "int8.xml", {"document": texts[:64]}, task)
    served = Served(folder / "int8.xml", folder / "tokenizer.json")
    return {
        "against_teacher": _speed(served.encode, teacher, texts),
        "against_onnx_int8": measure(served.encode, onnx.encode, texts),
        "form": form,
        "passes": is_int8_near(parity),
        "cosine_to_float": round(parity.cosine_mean, 5),
        "ndcg_at_10": parity.score,
        "bytes": sum((folder / f"int8.{end}").stat().st_size for end in ("xml", "bin")),
    }


def _speed(
    ours: Encode, teacher: SentenceTransformer, texts: list[str]
) -> dict[str, dict[str, float]]:
    def peer(some: list[str]) -> np.ndarray:
        return teacher.encode(some, batch_size=32, show_progress_bar=False)

    few = texts[: len(texts) // 2]
    found = {"throughput": measure(ours, peer, texts)}
    for size in (32, 1):
        print(f"measuring batches of {size}", file=sys.stderr)
        found[f"batch_{size}"] = measure(in_calls(ours, size), in_calls(peer, size), few)
    return found


if __name__ == "__main__":
    main()
