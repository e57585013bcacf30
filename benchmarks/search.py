"""Exact search over memory-mapped vectors: our exact and faiss-flat indexes against FAISS alone
(IndexFlatIP, filled and searched) on the same file of 384 dimensions, 256 queries, k = 20.

    python benchmarks/search.py             10^5 and 10^6 vectors: some minutes
    python benchmarks/search.py --quick     10^5 alone

Each side and size runs in a process of its own, all sides of a size in turns, twice or three times;
a ratio is FAISS' time by ours, from the file to the neighbours, the median over the turns.
`search_seconds` leaves the filling of FAISS' index out. `peak_mib` is the highest anonymous memory
(RssAnon of /proc/self/status, read every two milliseconds) beyond what the process held before it
opened the file. Pages of the mapped file are not in it, for the system takes them back at will;
FAISS' own copy of the vectors is. Prints one JSON line.
"""

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from forked import run_forked

from distill.embed.vectors.vector_store import VectorStore
from distill.recipe import Retriever
from distill.retrieve.index import make_index

SIZES = [10**5, 10**6]
WIDTH, QUERIES, K = 384, 256, 20
SIDES = ["exact", "faiss-flat", "faiss alone"]
BLOCK = 16_384


def write_vectors(path: Path, count: int) -> None:
    """Unit vectors in no order, block by block."""
    vectors = np.lib.format.open_memmap(path, "w+", np.float32, (count, WIDTH))
    draw = np.random.default_rng(0)
    for start in range(0, count, BLOCK):
        block = draw.standard_normal((min(BLOCK, count - start), WIDTH), np.float32)
        vectors[start : start + BLOCK] = block / np.linalg.norm(block, axis=1, keepdims=True)
    vectors.flush()


def ours(kind: str, vectors: np.ndarray, queries: np.ndarray) -> tuple[np.ndarray, float]:
    begun = time.perf_counter()
    index = make_index(Retriever(index=kind), VectorStore([], vectors, Path()))
    _, rows = index.search(queries, K)
    return rows, time.perf_counter() - begun


def faiss_alone(vectors: np.ndarray, queries: np.ndarray) -> tuple[np.ndarray, float]:
    """The neighbours, and the seconds of the search without the filling."""
    import faiss

    index = faiss.IndexFlatIP(WIDTH)
    for start in range(0, len(vectors), BLOCK):
        index.add(np.ascontiguousarray(vectors[start : start + BLOCK]))
    begun = time.perf_counter()
    _, rows = index.search(queries, K)
    return rows, time.perf_counter() - begun


def anonymous_mib() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("this system does not tell a process' anonymous memory: run it on Linux")


@contextmanager
def peak(pause: float = 0.002) -> Iterator[list[float]]:
    """The highest anonymous memory so far, looked at with pauses of so many seconds, as the one
    element of a list."""
    highest, over = [anonymous_mib()], threading.Event()

    def watch() -> None:
        while not over.wait(pause):
            highest[0] = max(highest[0], anonymous_mib())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield highest
    finally:
        over.set()
        thread.join()


def measure_side(side: str, path: Path) -> dict[str, Any]:
    """One side, once, after a warm-up on a few vectors that loads all libraries."""
    draw = np.random.default_rng(1)
    few = draw.standard_normal((1000, WIDTH), np.float32)
    work = faiss_alone if side == "faiss alone" else lambda v, q: ours(side, v, q)
    work(few, few[:QUERIES])
    before = anonymous_mib()
    vectors = np.load(path, mmap_mode="r")
    noise = draw.standard_normal((QUERIES, WIDTH), np.float32)
    queries = vectors[:: len(vectors) // QUERIES][:QUERIES] + 0.05 * noise
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    with peak() as highest:
        begun = time.perf_counter()
        rows, search_seconds = work(vectors, queries)
        seconds = time.perf_counter() - begun
    return {
        "seconds": seconds,
        "search_seconds": search_seconds,
        "peak_mib": highest[0] - before,
        "rows": rows.tolist(),
    }


def measure(count: int, turns: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vectors.npy"
        write_vectors(path, count)
        found: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
        for _ in range(turns):
            for side in SIDES:
                found[side].append(run_forked(measure_side, side, path))
                told = {key: value for key, value in found[side][-1].items() if key != "rows"}
                print(f"{count}, {side}: {json.dumps(told)}", file=sys.stderr, flush=True)

    def median(side: str, key: str) -> float:
        return statistics.median(one[key] for one in found[side])

    def ratio(side: str) -> float:
        pairs = zip(found["faiss alone"], found[side], strict=True)
        return statistics.median(peer["seconds"] / own["seconds"] for peer, own in pairs)

    peer_rows = np.array(found["faiss alone"][0]["rows"])
    return {
        "vectors": count,
        "vectors_mib": round(count * WIDTH * 4 / 2**20),
        "seconds": {side: round(median(side, "seconds"), 2) for side in SIDES},
        "search_seconds": {side: round(median(side, "search_seconds"), 2) for side in SIDES},
        "ratio": {side: round(ratio(side), 2) for side in SIDES[:2]},
        "peak_mib": {side: round(median(side, "peak_mib")) for side in SIDES},
        "same_as_peer": {
            side: float((np.array(found[side][0]["rows"]) == peer_rows).mean())
            for side in SIDES[:2]
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="10^5 vectors alone")
    parser.add_argument("--sizes", help="numbers of vectors, with commas between them")
    parser.add_argument("--turns", type=int, help="3, or 2 where there are 10^6 vectors")
    given = parser.parse_args()
    sizes = [int(size) for size in given.sizes.split(",")] if given.sizes else SIZES
    sizes = sizes[:1] if given.quick else sizes
    found = [measure(size, given.turns or (3 if size < 10**6 else 2)) for size in sizes]
    print(
        json.dumps(
            {
                "name": "search",
                "unit": "seconds",
                "ours": [one["seconds"]["exact"] for one in found],
                "peer": [one["seconds"]["faiss alone"] for one in found],
                "ratio": [one["ratio"]["exact"] for one in found],
                "peak_mib": [max(one["peak_mib"][side] for side in SIDES[:2]) for one in found],
                "by_size": found,
                "queries": QUERIES,
                "k": K,
                "peer_is": "faiss.IndexFlatIP over the same file, filled block by block, searched",
                "quick": given.quick,
            }
        )
    )


if __name__ == "__main__":
    main()
