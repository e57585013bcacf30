"""Training steps of a query encoder against a million document vectors: the softmax over all of
them, and over the batch's candidates and a uniform sample (`train.corpus_softmax.documents` and
`sample`). all-MiniLM-L6-v2 encodes batches of 64 queries of 16 words, with 200 candidates each;
vectors are a stand-in, random ones of 384 dimensions in a memory-mapped file (1.5 GB).

    python benchmarks/corpus_softmax.py             a million vectors, a sample of 100,000
    python benchmarks/corpus_softmax.py --quick     20,000 and 2,000

Each side runs in a process of its own. `steps_per_second` is the median over the steps behind the
first one; `peak_mib` the highest resident memory of the process, with the pages of the file that
are in memory at the time, which the system takes back where it needs them; `peak_own_mib` without
these pages. `ratio` is of the steps a second, the sample's by the whole softmax's. Prints one JSON
line.
"""

import argparse
import json
import random
import resource
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch
from forked import run_forked
from train import open_model

from distill.recipe import CorpusSoftmax
from distill.train.objectives.corpus_softmax import BatchPools, CorpusSoftmaxLoss

WIDTH, BATCH, CANDIDATES, WORDS = 384, 64, 200, 16
CHUNK = 50_000


class OwnMemory(threading.Thread):
    """Watches this process's memory but for the pages of files, in MiB, every 20 ms."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0.0

    def run(self) -> None:
        status = Path("/proc/self/status")
        while True:
            (line,) = (x for x in status.read_text().splitlines() if x.startswith("RssAnon"))
            self.peak = max(self.peak, int(line.split()[1]) / 1024)
            time.sleep(0.02)


def write_vectors(path: Path, count: int) -> None:
    """Write unit vectors drawn at random, (count, WIDTH) float32."""
    vectors = np.lib.format.open_memmap(path, "w+", np.float32, (count, WIDTH))
    draw = np.random.default_rng(0)
    for start in range(0, count, CHUNK):
        part = draw.standard_normal((min(CHUNK, count - start), WIDTH), np.float32)
        vectors[start : start + CHUNK] = part / np.linalg.norm(part, axis=1, keepdims=True)
    vectors.flush()


def measure(path: Path, settings: CorpusSoftmax, steps: int) -> dict[str, float]:
    """Train for some steps, and measure them."""
    vectors = np.load(path, mmap_mode="r")
    model = open_model()
    draw, words = np.random.default_rng(1), random.Random(1)
    vocabulary = [word for word in model.tokenizer.get_vocab() if word.isalpha()]
    rows = torch.from_numpy(draw.integers(len(vectors), size=(steps * BATCH, CANDIDATES)))
    target = torch.from_numpy(draw.dirichlet(np.ones(CANDIDATES), steps * BATCH)).float()
    loss = CorpusSoftmaxLoss(vectors, lambda n: BatchPools(rows[n], target[n]), settings)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-5)
    memory, seconds = OwnMemory(), []
    memory.start()
    for step in range(steps):
        texts = [" ".join(words.choices(vocabulary, k=WORDS)) for _ in range(BATCH)]
        begun = time.perf_counter()
        queries = model(model.preprocess(texts))["sentence_embedding"]
        value = loss(queries, torch.arange(step * BATCH, (step + 1) * BATCH))
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - begun)
    return {
        "steps_per_second": round(1 / statistics.median(seconds[1:]), 3),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "peak_own_mib": round(memory.peak),
    }


def in_a_process(path: Path, whole: bool, sample: int, steps: int) -> dict[str, float]:
    """The figures of one side, whose peak is its own."""
    settings = CorpusSoftmax(documents=10**9 if whole else 1, sample=sample)
    found = run_forked(measure, path, settings, steps)
    print(f"{'whole' if whole else 'sample'}: {json.dumps(found)}", file=sys.stderr, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="20,000 vectors, a sample of 2,000")
    parser.add_argument("--steps", type=int, default=5, help="at least 2: the first is left out")
    parser.add_argument("--sample", type=int, help="default: a tenth of the vectors")
    given = parser.parse_args()
    if given.steps < 2:
        parser.error("--steps: at least 2")
    count = 20_000 if given.quick else 1_000_000
    sample = given.sample or count // 10
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vectors.npy"
        write_vectors(path, count)
        of_sample = in_a_process(path, False, sample, given.steps)
        of_whole = in_a_process(path, True, sample, given.steps)
    line = {
        "name": "corpus_softmax",
        "unit": "steps a second",
        "ours": of_sample,
        "peer": of_whole,
        "ratio": round(of_sample["steps_per_second"] / of_whole["steps_per_second"], 2),
        "peer_is": "the softmax over all vectors",
        "vectors": count,
        "sample": sample,
        "batch": BATCH,
        "candidates": CANDIDATES,
        "threads": torch.get_num_threads(),
        "quick": given.quick,
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
