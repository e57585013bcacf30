"""Memory flat, time linear: relabelling (candidates, judgements, labels, examples) from 2,000 to
32,000 queries over 20,000 passages, 20 candidates each.

    python benchmarks/memory_relabel.py             2,000, 8,000 and 32,000 queries
    python benchmarks/memory_relabel.py --quick     2,000 and 8,000

The claim is about our machinery, so encoder and LLM are stand-ins that answer at once. Each size
runs in a process of its own; `peak_mib` is the highest resident memory beyond what the process held
after a run of 512 queries over the same passages. Prints one JSON line.
"""

import argparse
import json
import random
import resource
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from forked import run_forked
from memory import WORDS, write_passages

from distill.embed.encoder import Vectors
from distill.embed.wording import PLAIN
from distill.llm.protocol import Completion, Sampling, Score, ScoreRequest
from distill.models.sources.in_memory import register_object
from distill.recipe import Recipe
from distill.relabel.candidates import make_candidates
from distill.relabel.choose import make_examples
from distill.relabel.fuse import make_labels
from distill.relabel.judgements import make_judgements
from distill.relabel.rankers.passes import RankerSettings
from distill.store.run import Run
from distill.store.stage import ShardResult, Stage
from distill.store.tables import QUERIES
from distill.text.format import Side

SIZES = [2_000, 8_000, 32_000]
WARM_UP = 512
PASSAGES = 20_000
DIMENSIONS = 64
QUERIES_A_SHARD = 1000


class StandInEncoder:
    """A random direction for each text."""

    dimensions = DIMENSIONS
    wording = PLAIN
    identity: dict[str, str | int] = {"model": "stand-in"}  # noqa: RUF012

    def encode(
        self, texts: Sequence[str], side: Side, tasks: Sequence[str] | None = None
    ) -> Vectors:
        return self.encode_prompted(self.wording.write(texts, side, tasks), side)

    def encode_prompted(self, texts: Sequence[str], side: Side) -> Vectors:
        seeds = [zlib.crc32(text.encode()) for text in texts]
        rows = [np.random.default_rng(s).standard_normal(DIMENSIONS) for s in seeds]
        vectors = np.asarray(rows, np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class StandInLLM:
    """A likelihood for each text, from its letters."""

    name = "stand-in"
    can_score = can_compare_verdicts = True
    supports_regex = supports_schema = has_chat = False

    def __init__(self) -> None:
        self.tokens = {"prompt": 0, "shared": 0, "new": 0}

    def score(self, requests: Sequence[ScoreRequest]) -> list[list[Score]]:
        def logprob(*texts: str) -> float:
            return -(zlib.crc32("".join(texts)[-200:].encode()) % 10_000) / 500

        return [
            [
                Score(
                    logprob(request.prefix, c),
                    len(c.split()),
                    tuple(logprob(request.prefix, c, ending) for ending in request.endings),
                )
                for c in request.continuations
            ]
            for request in requests
        ]

    def generate(
        self, prompts: Sequence[str], seeds: Sequence[int], sampling: Sampling
    ) -> list[Completion]:
        raise NotImplementedError("nothing in this benchmark writes")

    def close(self) -> None:
        """It holds nothing."""


def recipe() -> Recipe:
    """The engine named is there for the fingerprints alone; nothing asks it."""
    served = {"model": "stand-in", "base_url": "http://localhost:1/v1"}
    encoder = register_object(StandInEncoder(), ["encode_prompted"], "distill.embed.Encoder")
    return Recipe.model_validate(
        {
            "name": "memory",
            "llm": {"engine": "http", **served},
            "retriever": {"model": encoder},
        }
    )


def write_queries(run: Run, count: int, passages: Stage) -> Stage:
    def work(numbers: range) -> ShardResult:
        return ShardResult([query(number, among) for number in numbers])

    among = passages.manifest["rows"]
    starts = range(0, count, QUERIES_A_SHARD)
    items = [range(start, min(start + QUERIES_A_SHARD, count)) for start in starts]
    stage = run.open_stage("queries", {"count": count}, [passages])
    stage.map_shards(QUERIES, items, work, size=len, unit="queries")
    stage.finish()
    return stage


def query(number: int, passages: int) -> dict[str, str | None]:
    words = random.Random(number).choices(WORDS, k=9)
    return {
        "query_id": f"q{number}",
        "seed_id": f"p{number % passages}",
        "task": "Find it.",
        "task_type": "search",
        "query": " ".join(words),
        "persona": None,
        "llm": "stand-in",
    }


def relabel(folder: Path, among: int, count: int) -> dict[str, object]:
    """Seconds of each stage, peak memory, pairs and examples."""
    settings, llm, seconds = recipe(), StandInLLM(), {}
    with Run(folder) as run:
        passages = write_passages(run, among)
        queries = write_queries(run, count, passages)
        judged = folder / "judgements.sqlite"

        def clocked(name: str, make: Callable[..., Stage], *inputs: object) -> Stage:
            begun = time.process_time()
            stage = make(run, *inputs)
            seconds[name] = round(time.process_time() - begun, 2)
            return stage

        found = clocked(
            "candidates",
            make_candidates,
            settings.retriever,
            settings.relabel,
            passages,
            queries,
        )
        judgements = {}
        for name in ("ql", "rc"):
            rankers = RankerSettings.select(settings)
            inputs = (rankers, name, passages, queries, found, lambda: llm, judged)
            judgements[name] = (clocked(f"judgements-{name}", make_judgements, *inputs), found)
        labels = clocked("labels", make_labels, settings.relabel, queries, found, judgements)
        examples = clocked(
            "examples",
            make_examples,
            settings.relabel,
            settings.seed,
            passages,
            queries,
            labels,
            found,
        )
        rows = {"pairs": labels.manifest["rows"], "examples": examples.manifest["rows"]}
    return {"cpu_seconds": seconds, "rows": rows}


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure_run(folder: Path, among: int, count: int) -> dict[str, Any]:
    relabel(folder / "warm-up", among, min(WARM_UP, count))
    before = peak_mib()
    return {**relabel(folder / "run", among, count), "peak": round(peak_mib() - before, 1)}


def measure(among: int, count: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        found = run_forked(measure_run, Path(folder), among, count)
    print(f"{count}: {json.dumps(found)}", file=sys.stderr, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2,000 and 8,000 only")
    parser.add_argument("--sizes", help="numbers of queries, with commas between them")
    parser.add_argument("--passages", type=int, default=PASSAGES)
    given = parser.parse_args()
    sizes = [int(size) for size in given.sizes.split(",")] if given.sizes else SIZES
    sizes = sizes[:2] if given.quick else sizes
    found = [measure(given.passages, size) for size in sizes]
    seconds = [round(sum(one["cpu_seconds"].values()), 1) for one in found]
    each = [1e6 * total / one["rows"]["pairs"] for total, one in zip(seconds, found, strict=True)]
    peaks = [one["peak"] for one in found]
    print(
        json.dumps(
            {
                "name": "memory of relabelling",
                "unit": "MiB beyond a run of 512 queries",
                "queries": sizes,
                "peak_mib": peaks,
                "cpu_seconds": seconds,
                "cpu_microseconds_a_pair": [round(one, 1) for one in each],
                "ratio_of_time_a_pair": round(each[-1] / each[0], 2),
                "cpu_seconds_by_stage": [one["cpu_seconds"] for one in found],
                "quick": given.quick,
            }
        )
    )


if __name__ == "__main__":
    main()
