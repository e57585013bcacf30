"""What corpus, embedding, search, judging and choosing cost as the corpus grows: processor time and
memory of our machinery, with stand-ins for encoder and LLM.

    python benchmarks/scale.py                      30,000 and 100,000 passages
    python benchmarks/scale.py --sizes 100000,300000
    python benchmarks/scale.py --sizes 100000,1000000
    python benchmarks/scale.py --sizes 300000 --parts 8    the searches alone, whole and by parts
    python benchmarks/scale.py --sizes 1000000 --texts     the texts of a block of queries alone

There is a query for every 50 passages, whose seed passages the round trip looks for, and 20
candidates a query. Each stage runs in a process of its own, so `peak_mib` holds its imports too;
`anonymous_mib` is the highest memory without the pages of mapped files. Prints one JSON line a
stage. `cpu_seconds_per_unit` is for 10^5 passages, pairs or queries; of a search, for 10^5 queries
among 10^5 passages. `growth` divides that of the largest size by that of the smallest: 1 is linear.
One line is of the texts of 4,096 queries' candidates, drawn from the whole corpus, as a block of
judging reads them. The last line holds the bytes on the disk for each row of each table, at the
largest size; of a judged pair with its row in the cache of judgements. An example's are those
beside its passages' texts, which take as much each as a passage in its table.

`--parts` makes the round trip's search, and candidates that have to be searched anew, of the whole
corpus and part by part, in turns of three; one JSON line for each, with the ratio of the medians.
Their candidates have to be equal, byte for byte.
"""

import argparse
import json
import random
import resource
import shutil
import statistics
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from forked import run_forked
from memory import WORDS
from memory_relabel import StandInLLM
from search import peak

from distill.corpus.passages import make_split_passages
from distill.embed.encoder import Vectors
from distill.embed.wording import PLAIN
from distill.generate.filters.stage import FilterSettings, make_queries
from distill.llm.lazy import LazyLLM
from distill.models.sources.in_memory import register_object
from distill.recipe import Recipe, Relabel
from distill.relabel.candidates import make_candidates
from distill.relabel.choose import make_examples
from distill.relabel.fuse import make_labels
from distill.relabel.judgements import make_judgements
from distill.relabel.rankers.passes import RankerSettings
from distill.retrieve.corpus_index import embed_corpus, open_encoder
from distill.store.passages import PassageReader
from distill.store.run import Run
from distill.store.stage import ShardResult, Stage
from distill.store.tables import PARSED
from distill.text.format import Side

SIZES = [30_000, 100_000]
PASSAGES_A_QUERY = 50
DIMENSIONS = 384
WORDS_A_PASSAGE, WORDS_A_QUERY = 75, 9
QUERIES_A_SHARD = 256
QUERIES_A_BLOCK, CANDIDATES = 4_096, 20
TURNS = 3
STAGES = ["corpus", "embed", "search", "candidates", "judge", "labels", "examples"]
UNITS = {
    "corpus": "passages",
    "embed": "passages",
    "search": "queries among 10^5 passages",
    "candidates": "pairs",
    "judge": "pairs",
    "labels": "pairs",
    "examples": "queries",
}


class BagOfWords:
    """The sum of a random direction for each word, so that a query finds the passage that its words
    are taken from."""

    dimensions = DIMENSIONS
    wording = PLAIN
    identity: dict[str, str | int] = {"model": "bag of words"}  # noqa: RUF012

    def __init__(self) -> None:
        directions = np.random.default_rng(0).standard_normal((2**14, DIMENSIONS))
        self._directions = directions.astype(np.float32)

    def encode(
        self, texts: Sequence[str], side: Side, tasks: Sequence[str] | None = None
    ) -> Vectors:
        return self.encode_prompted(self.wording.write(texts, side, tasks), side)

    def encode_prompted(self, texts: Sequence[str], side: Side) -> Vectors:
        places = [[zlib.crc32(w.encode()) % 2**14 for w in text.split()] for text in texts]
        rows = [self._directions[of_text].sum(axis=0) for of_text in places]
        vectors = np.asarray(rows, np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def make_recipe(folder: Path, rows: int | None = None) -> Recipe:
    """A recipe that searches so many rows of the corpus at a time; None: all of them. The engine
    named is there for the fingerprints alone; nothing asks it."""
    served = {"model": "stand-in", "base_url": "http://localhost:1/v1"}
    encoder = register_object(BagOfWords(), ["encode_prompted"], "distill.embed.Encoder")
    return Recipe.model_validate(
        {
            "name": "scale",
            "corpus": {"source": "jsonl", "path": str(folder / "corpus.jsonl")},
            "generate": {"filters": {"round_trip": 20, "languages": None}},
            "llm": {"engine": "http", **served},
            "retriever": {
                "model": encoder,
                "index": "exact",
                "device": "cpu",
                "index_rows": rows,
            },
            "relabel": {"rankers": ["ql", "retriever"]},
        }
    )


def draw_words(number: int) -> list[str]:
    return random.Random(number).choices(WORDS, k=WORDS_A_PASSAGE)


def write_corpus(path: Path, passages: int) -> None:
    with path.open("w") as file:
        for number in range(passages):
            row = {"_id": f"p{number}", "title": "", "text": f"{' '.join(draw_words(number))}."}
            file.write(f"{json.dumps(row)}\n")


def make_parsed(run: Run, passages: Stage) -> Stage:
    """A query of each fiftieth passage's own words."""
    seeds = range(0, passages.manifest["rows"], PASSAGES_A_QUERY)

    def work(numbers: range) -> ShardResult:
        return ShardResult([make_query(number) for number in numbers])

    items = [seeds[i : i + QUERIES_A_SHARD] for i in range(0, len(seeds), QUERIES_A_SHARD)]
    stage = run.open_stage("parsed", {}, [passages])
    stage.map_shards(PARSED, items, work, size=len, unit="queries")
    stage.finish()
    return stage


def make_query(number: int) -> dict[str, str | int | None]:
    words = draw_words(number)[: WORDS_A_PASSAGE : WORDS_A_PASSAGE // WORDS_A_QUERY]
    return {
        "query_id": f"p{number}~0",
        "seed_id": f"p{number}",
        "sample": 0,
        "draw": 0,
        "task": "Find it.",
        "task_type": "search",
        "query": " ".join(words),
        "persona": None,
        "language": None,
        "llm": "stand-in",
    }


class Work:
    """The stages of one run; each makes those before it too, or finds them made."""

    def __init__(self, run: Run, folder: Path, rows: int | None = None) -> None:
        self.run, self.folder = run, folder
        self.recipe = make_recipe(folder, rows)

    def corpus(self) -> Stage:
        recipe = self.recipe
        return make_split_passages(self.run, recipe.corpus, recipe.seed, []).passages

    def embed(self) -> None:
        retriever = self.recipe.retriever
        embed_corpus(self.run, open_encoder(retriever), self.corpus(), retriever.vectors)

    def search(self) -> Stage:
        passages = self.corpus()
        parsed = make_parsed(self.run, passages)
        filters = FilterSettings.select(self.recipe)
        return make_queries(self.run, filters, passages, [parsed], LazyLLM(StandInLLM), [])

    def candidates(self) -> Stage:
        inputs = (self.corpus(), self.search())
        return make_candidates(self.run, self.recipe.retriever, self.recipe.relabel, *inputs)

    def judge(self) -> Stage:
        inputs = (self.corpus(), self.search(), self.candidates())
        judged = self.folder / "judgements.sqlite"
        llm = StandInLLM()
        rankers = RankerSettings.select(self.recipe)
        return make_judgements(self.run, rankers, "ql", *inputs, lambda: llm, judged)

    def labels(self) -> Stage:
        judgements = {"ql": (self.judge(), self.candidates())}
        inputs = (self.search(), self.candidates(), judgements)
        return make_labels(self.run, self.recipe.relabel, *inputs)

    def examples(self) -> Stage:
        settings = (self.recipe.relabel, self.recipe.seed)
        inputs = (self.corpus(), self.search(), self.labels(), self.candidates())
        return make_examples(self.run, *settings, *inputs)


def run_stage(folder: Path, name: str) -> dict[str, float]:
    """Make one stage, those before it having been made; what it took."""
    with Run(folder / "run") as run:
        work = Work(run, folder)
        make: Callable[[], Stage | None] = getattr(work, name)
        if name != "corpus":
            work.corpus()  # opened, with its checksums compared, before the clock starts
        with peak(0.05) as anonymous:
            before = time.process_time()
            made = make()
            seconds = time.process_time() - before
    rows = made.manifest["rows"] if made is not None else 0
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    took = {"cpu_seconds": seconds, "peak_mib": highest, "anonymous_mib": anonymous[0]}
    return took | {"rows": rows}


def read_block(folder: Path, passages: int, turn: int) -> float:
    """Processor time of one block's texts: its candidates are drawn from all passages."""
    draw = random.Random(turn)
    ids = {f"p{draw.randrange(passages)}" for _ in range(QUERIES_A_BLOCK * CANDIDATES)}
    reader = PassageReader(folder / "run" / "passages")
    reader.read_texts(["p0"])  # opened, with its checksums compared, before the clock starts
    before = time.process_time()
    reader.read_texts(ids)
    return time.process_time() - before


def measure_texts(folder: Path, passages: int) -> float:
    """The median of some blocks, each read by a process of its own."""
    turns = range(TURNS)
    return statistics.median(run_forked(read_block, folder, passages, turn) for turn in turns)


def search_again(folder: Path, name: str, rows: int | None) -> dict[str, float]:
    """Make the queries or the candidates of a run again, without what was found before."""
    run_folder = folder / "run"
    shutil.rmtree(run_folder / name, ignore_errors=True)
    for path in run_folder.glob("searches.sqlite*"):
        path.unlink()
    with Run(run_folder) as run:
        work = Work(run, folder, rows)
        work.corpus()
        before = time.process_time()
        work.search() if name == "queries" else work.candidates()
        seconds = time.process_time() - before
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    shards = sorted((run_folder / name).glob("part-*.parquet"))
    digest = zlib.crc32(b"".join(path.read_bytes() for path in shards))
    return {"cpu_seconds": seconds, "peak_mib": highest, "digest": digest}


def compare_parts(passages: int, parts: int) -> None:
    """Print what the searches take by parts and of the whole."""
    with tempfile.TemporaryDirectory() as folder:
        write_corpus(Path(folder) / "corpus.jsonl", passages)
        for name in ("corpus", "embed", "search"):
            run_forked(run_stage, Path(folder), name)
        for name in ("queries", "candidates"):
            sides: dict[int | None, list[dict[str, float]]] = {None: [], passages // parts: []}
            for _ in range(TURNS):
                for rows, took in sides.items():
                    took.append(run_forked(search_again, Path(folder), name, rows))
                    print(f"{name} {rows}: {took[-1]}", file=sys.stderr, flush=True)
            if len({one["digest"] for took in sides.values() for one in took}) > 1:
                raise SystemExit(f"{name} differ")
            peer, ours = (
                statistics.median(one["cpu_seconds"] for one in took) for took in sides.values()
            )
            figures = {
                "name": f"scale: {name} by parts",
                "unit": "CPU seconds",
                "passages": passages,
                "parts": parts,
                "ours": round(ours, 2),
                "peer": round(peer, 2),
                "peer_is": "a search of the whole",
                "ratio": round(ours / peer, 3),
                "peak_mib": [round(max(one["peak_mib"] for one in of)) for of in sides.values()],
            }
            print(json.dumps(figures))


def count_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def count_units(name: str, passages: int, queries: int) -> float:
    pairs = 20 * queries
    if name in ("corpus", "embed"):
        return passages
    if name == "search":
        return queries * passages / 1e5
    return queries if name == "examples" else pairs


def measure(passages: int) -> dict[str, dict[str, float]]:
    """What each stage takes at one size."""
    with tempfile.TemporaryDirectory() as folder:
        write_corpus(Path(folder) / "corpus.jsonl", passages)
        found: dict[str, dict[str, float]] = {}
        for name in STAGES:
            found[name] = run_forked(run_stage, Path(folder), name)
            print(f"{passages} {name}: {found[name]}", file=sys.stderr, flush=True)
        queries = found["search"]["rows"]
        found["texts"] = {"cpu_seconds": measure_texts(Path(folder), passages)}
        found["bytes"] = compute_bytes_a_row(Path(folder), passages, int(queries))
    queries = found["search"]["rows"]
    if queries < 0.9 * passages / PASSAGES_A_QUERY:
        raise SystemExit(f"{queries} queries are left: this measures something else")
    for name in STAGES:
        one = found[name]
        one["per_unit"] = 1e5 * one["cpu_seconds"] / count_units(name, passages, int(queries))
    return found


def measure_texts_alone(passages: int) -> float:
    """Processor time of a block's texts, of a corpus that is made for it."""
    with tempfile.TemporaryDirectory() as folder:
        write_corpus(Path(folder) / "corpus.jsonl", passages)
        run_forked(run_stage, Path(folder), "corpus")
        return measure_texts(Path(folder), passages)


def print_texts(sizes: list[int], seconds: list[float]) -> None:
    figures = {
        "name": "scale: texts",
        "unit": f"CPU seconds for a block of {QUERIES_A_BLOCK} queries",
        "passages": sizes,
        "cpu_seconds": [round(one, 2) for one in seconds],
    }
    print(json.dumps(figures))


def compute_bytes_a_row(folder: Path, passages: int, queries: int) -> dict[str, float]:
    """Bytes for each row, by table."""
    run, pairs = folder / "run", 20 * queries
    judged = count_bytes(run / "judgements-ql") + (folder / "judgements.sqlite").stat().st_size
    passage = sum(path.stat().st_size for path in (run / "passages").glob("*.parquet")) / passages
    texts = passage * (1 + Relabel().negative_count)
    return {
        "passages": passage,
        "their lookup": count_bytes(run / "passages") / passages - passage,
        "vectors": count_bytes(run / "vectors") / passages,
        "parsed": count_bytes(run / "parsed") / queries,
        "queries": count_bytes(run / "queries") / queries,
        "candidates": count_bytes(run / "candidates") / pairs,
        "judgements": judged / pairs,
        "labels": count_bytes(run / "labels") / pairs,
        "examples": count_bytes(run / "examples") / queries - texts,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", help="numbers of passages, with commas between them")
    parser.add_argument("--parts", type=int, help="parts in which the corpus is searched")
    parser.add_argument("--texts", action="store_true", help="read a block's texts alone")
    given = parser.parse_args()
    sizes = [int(size) for size in given.sizes.split(",")] if given.sizes else SIZES
    if given.texts:
        print_texts(sizes, [measure_texts_alone(size) for size in sizes])
        return
    if given.parts:
        for size in sizes:
            compare_parts(size, given.parts)
        return
    found = [measure(size) for size in sizes]
    for name in STAGES:
        each = [one[name]["per_unit"] for one in found]
        figures = {
            "name": f"scale: {name}",
            "unit": f"CPU seconds for 10^5 {UNITS[name]}",
            "passages": sizes,
            "cpu_seconds": [round(one[name]["cpu_seconds"], 2) for one in found],
            "cpu_seconds_per_unit": [round(one, 2) for one in each],
            "peak_mib": [round(one[name]["peak_mib"]) for one in found],
            "anonymous_mib": [round(one[name]["anonymous_mib"]) for one in found],
            "growth": round(each[-1] / each[0], 2),
        }
        print(json.dumps(figures))
    print_texts(sizes, [one["texts"]["cpu_seconds"] for one in found])
    sizes_of_rows = {table: round(size, 1) for table, size in found[-1]["bytes"].items()}
    print(json.dumps({"name": "scale: bytes a row", "passages": sizes[-1], **sizes_of_rows}))


if __name__ == "__main__":
    main()
