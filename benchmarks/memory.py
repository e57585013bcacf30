"""Memory flat, time linear: generation (generations, parsed, queries, with the default filters and
near-duplicates at 0.8) from 10^4 to 10^6 passages.

    python benchmarks/memory.py             10^4, 10^5 and 10^6 passages
    python benchmarks/memory.py --quick     10^4 and 10^5

The claim is about our machinery, so the LLM is a stand-in that writes a well-formed, distinct query
for each prompt at once. Each size runs in a process of its own. `peak_mib` is the highest resident
memory beyond what the process held after a run of 512 passages, which imports and warms up
everything. Prints one JSON line.
"""

import argparse
import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from forked import run_forked

from distill.generate.filters.stage import FilterSettings, make_queries
from distill.generate.passages.generations import make_generations
from distill.generate.passages.parsed import make_parsed
from distill.generate.settings import WritingSettings
from distill.llm.lazy import LazyLLM
from distill.llm.protocol import LLM, Completion, Sampling, Score, ScoreRequest
from distill.recipe import Recipe
from distill.store.run import Run
from distill.store.stage import ShardResult, Stage
from distill.store.tables import PASSAGES

SIZES = [10**4, 10**5, 10**6]
WARM_UP = 512
PASSAGES_A_SHARD = 10_000
WORDS = ["".join(random.Random(i).choices("abdegiklmnoprstu", k=7)) for i in range(20_000)]


class StandIn:
    """Writes at once what an LLM would be minutes about."""

    name = "stand-in"
    can_score = can_compare_verdicts = False
    supports_regex = supports_schema = False
    has_chat = False

    def __init__(self) -> None:
        self.tokens = {"prompt": 0, "shared": 0, "new": 0}

    def generate(
        self, prompts: Sequence[str], seeds: Sequence[int], sampling: Sampling
    ) -> list[Completion]:
        self.tokens["new"] += 16 * len(prompts)
        return [
            Completion(written(prompt, seed), True)
            for prompt, seed in zip(prompts, seeds, strict=True)
        ]

    def score(self, requests: Sequence[ScoreRequest]) -> list[list[Score]]:
        raise NotImplementedError("nothing in this benchmark scores")

    def close(self) -> None:
        """It holds nothing."""


def written(prompt: str, seed: int) -> str:
    """The two lines in the order of the prompt, which ends in the first one's label."""
    lines = [
        f"Query: {' '.join(random.Random(seed).choices(WORDS, k=9))}",
        "Task: Given a question, find the passage that answers it.",
    ]
    return "\n".join(lines if prompt.endswith("Query:") else lines[::-1])


def recipe_of(passages: int) -> Recipe:
    """The engine named is there for the fingerprint alone; nothing asks it."""
    return Recipe.model_validate(
        {
            "name": "memory",
            "llm": {"engine": "http", "model": StandIn.name, "base_url": "http://localhost:1/v1"},
            "generate": {"passages": passages, "filters": {"near_duplicates": 0.8}},
        }
    )


def write_passages(run: Run, count: int) -> Stage:
    def work(numbers: range) -> ShardResult:
        return ShardResult([passage(number) for number in numbers])

    starts = range(0, count, PASSAGES_A_SHARD)
    items = [range(start, min(start + PASSAGES_A_SHARD, count)) for start in starts]
    stage = run.open_stage("passages", {"count": count})
    stage.map_shards(PASSAGES, items, work, size=len, unit="passages")
    stage.finish()
    return stage


def passage(number: int) -> dict[str, str]:
    words = random.Random(number).choices(WORDS, k=60)
    text = f"{' '.join(words[3:])}."
    return {
        "passage_id": f"p{number}",
        "title": " ".join(words[:3]),
        "text": text,
        "source": "synthetic",
    }


def generate(folder: Path, count: int) -> dict[str, Any]:
    """Seconds of each stage, by the clock and of the processor, peak memory after each, and the
    rows that are left."""
    recipe, llm = recipe_of(count), StandIn()
    writing, filters = WritingSettings.select(recipe), FilterSettings.select(recipe)
    seconds: dict[str, float] = {}
    cpu_seconds: dict[str, float] = {}
    peaks: dict[str, float] = {}

    def engine() -> LLM:
        return llm

    with Run(folder) as run:
        passages = write_passages(run, count)

        def clocked(name: str, make: Callable[[], Stage]) -> Stage:
            begun, cpu_begun = time.perf_counter(), time.process_time()
            stage = make()
            seconds[name] = round(time.perf_counter() - begun, 3)
            cpu_seconds[name] = round(time.process_time() - cpu_begun, 3)
            peaks[name] = peak_mib()
            return stage

        generations = clocked(
            "generations", lambda: make_generations(run, writing, passages, engine)
        )
        parsed = clocked("parsed", lambda: make_parsed(run, writing, generations))
        queries = clocked(
            "queries", lambda: make_queries(run, filters, passages, [parsed], LazyLLM(engine), [])
        )
        rows = queries.manifest["rows"]
    if rows < 0.99 * count:
        raise SystemExit(f"{rows} of {count} queries are left: this measures something else")
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "peaks": peaks, "rows": rows}


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def prepare(folder: Path, count: int) -> None:
    with Run(folder / "run") as run:
        write_passages(run, count)


def measure_run(folder: Path, count: int) -> dict[str, Any]:
    generate(folder / "warm-up", WARM_UP)
    before = peak_mib()
    found = generate(folder / "run", count)
    found["peaks"] = {name: round(peak - before, 1) for name, peak in found["peaks"].items()}
    return found


def measure(count: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        # Not in this process: on Linux a child's peak begins at its parent's.
        run_forked(prepare, Path(folder), count)
        found = run_forked(measure_run, Path(folder), count)
    print(f"{count}: {json.dumps(found)}", file=sys.stderr, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="10^4 and 10^5 only: two minutes")
    parser.add_argument("--sizes", help="numbers of passages, with commas between them")
    given = parser.parse_args()
    sizes = [int(size) for size in given.sizes.split(",")] if given.sizes else SIZES
    if given.quick:
        sizes = sizes[:2]
    found = [measure(size) for size in sizes]
    peaks = [max(one["peaks"].values()) for one in found]
    # A small run may stay within what the warm-up took: then there is no ratio.
    ratio_of_peaks = round(peaks[-1] / peaks[0], 2) if peaks[0] > 0 else None
    seconds = [round(sum(one["seconds"].values()), 2) for one in found]
    cpu_seconds = [round(sum(one["cpu_seconds"].values()), 2) for one in found]
    a_row = [total / size for total, size in zip(seconds, sizes, strict=True)]
    cpu_a_row = [total / size for total, size in zip(cpu_seconds, sizes, strict=True)]
    print(
        json.dumps(
            {
                "name": "memory",
                "unit": "MiB beyond imports",
                "sizes": sizes,
                "peak_mib": peaks,
                "seconds": seconds,
                "seconds_by_stage": [one["seconds"] for one in found],
                "peak_after_stage": [one["peaks"] for one in found],
                "cpu_seconds": cpu_seconds,
                "microseconds_a_row": [round(1e6 * one, 1) for one in a_row],
                "cpu_microseconds_a_row": [round(1e6 * one, 1) for one in cpu_a_row],
                "ratio_of_peaks": ratio_of_peaks,
                "ratio_of_time_a_row": round(a_row[-1] / a_row[0], 2),
                "ratio_of_cpu_time_a_row": round(cpu_a_row[-1] / cpu_a_row[0], 2),
                "quick": given.quick,
            }
        )
    )


if __name__ == "__main__":
    main()
