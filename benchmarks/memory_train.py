"""Peak memory of contrastive training set by the mini-batch, not by the batch: two steps of 2,048
pairs against two steps of 128, all-MiniLM-L6-v2, mini-batches of 2,048 tokens.

    python benchmarks/memory_train.py             batches of 128 and 2,048
    python benchmarks/memory_train.py --quick     batches of 32 and 256

Pairs are the first words and the rest of vaswani's abstracts, at most 64 tokens. Each batch size
runs in a process of its own. `peak_mib` is the highest resident memory of the process, weights and
Adam's moments included; `beyond_model_mib` what it is above the process that has loaded the model
and not yet trained. `ratio` is of the peaks, the larger batch by the smaller; `ratio_beyond_model`
of what lies beyond. glibc keeps freed blocks of mini-batches' many sizes for itself; with
MALLOC_MMAP_THRESHOLD_=1048576 in the environment it gives them back, a fifth more slowly, and the
peak is what tensors take. Needs DISTILL_DATA. Prints one JSON line.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
from pathlib import Path

import torch
from forked import run_forked
from train import MINILM, open_model

from distill.corpus.readers.jsonl import read_lines
from distill.generate.examples import make_example
from distill.recipe import Student, Train
from distill.runtime.interrupt import Interrupt
from distill.store.tables import Row
from distill.student.writing import StudentTexts
from distill.train.data.mixture import make_mixture
from distill.train.data.soft_labels import score_from_example
from distill.train.data.tokenized import TokenizedTexts
from distill.train.loop.diagnostics import Diagnostics
from distill.train.loop.trainer import fit
from distill.train.objectives import CombinedLoss

STEPS = 2
MAX_TOKENS = 64
MINI_BATCH_TOKENS = 2048
QUERY_WORDS = 8


def pairs(count: int) -> list[Row]:
    path = Path(os.environ["DISTILL_DATA"]) / "own/vaswani/corpus.jsonl"
    rows = []
    for _, document in read_lines(path):
        words = document["text"].split()
        if len(words) > 2 * QUERY_WORDS:
            query, positive = " ".join(words[:QUERY_WORDS]), " ".join(words[QUERY_WORDS:])
            rows.append(make_example(document["_id"], "", "search", query, positive, []))
    return rows[:count]


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(batch: int) -> dict[str, float]:
    student = Student(encoder=MINILM, max_tokens=MAX_TOKENS)
    train = Train(
        batch_size=batch,
        learning_rate=2e-5,
        objective={"infonce": 1.0},
        mini_batch_tokens=MINI_BATCH_TOKENS,
        device="cpu",
    )
    rows = pairs(STEPS * batch)
    model = open_model()
    model.max_seq_length = MAX_TOKENS
    with tempfile.TemporaryDirectory() as folder:
        mixture = make_mixture(
            student, train, 1, [score_from_example(row, train) for row in rows], None
        )
        tokens = TokenizedTexts(Path(folder) / "tokens", model, mixture.student_texts)
        before = peak()
        objective = CombinedLoss(model, train, None, torch.nn.Identity())
        fit(
            train,
            1,
            objective,
            mixture,
            tokens,
            Diagnostics(StudentTexts(student, []), rows[:2], None),
            Path(folder),
            Interrupt(),
        )
    return {"peak_mib": round(peak()), "beyond_model_mib": round(peak() - before)}


def in_a_process(batch: int) -> dict[str, float]:
    found = run_forked(measure, batch)
    print(f"batch {batch}: {json.dumps(found)}", file=sys.stderr, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="batches of 32 and 256")
    parser.add_argument("--batches", help="a small and a large batch, with a comma between them")
    given = parser.parse_args()
    small, large = (32, 256) if given.quick else (128, 2048)
    if given.batches:
        small, large = map(int, given.batches.split(","))
    of_small, of_large = in_a_process(small), in_a_process(large)

    def ratio(of: str) -> float:
        return round(of_large[of] / of_small[of], 3)

    line = {
        "name": "memory_train",
        "unit": "MiB",
        "ours": of_large,
        "peer": of_small,
        "ratio": ratio("peak_mib"),
        "ratio_beyond_model": ratio("beyond_model_mib"),
        "target": 1.2,
        "peer_is": "the same with the smaller batch",
        "batches": [small, large],
        "mini_batch_tokens": MINI_BATCH_TOKENS,
        "steps": STEPS,
        "malloc_mmap_threshold": os.environ.get("MALLOC_MMAP_THRESHOLD_", "glibc's own"),
        "quick": given.quick,
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
