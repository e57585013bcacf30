"""The stage `parsed-free`: queries that are taken from the passages themselves, without a language
model. They have the columns of `parsed`, so that filters, relabelling and training read them like
any others; `task_type` is the method.
"""

import random
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from distill.errors import UserError
from distill.generate.free.draw import (
    CorpusCounts,
    digest_sentence,
    draw_queries,
    list_keywords,
    list_sentences,
)
from distill.recipe import FreeMethod, FreeQueries, Generate
from distill.retrieve.terms import TERMS_RULE
from distill.runtime.progress import Progress, count_within_shard
from distill.store.passages import PassageReader
from distill.store.run import Run
from distill.store.stage import ShardResult, Stage
from distill.store.tables import NO_LLM, PARSED, PASSAGES, Row, read_rows

_BOILERPLATE = 10
"""Number of passages from which a sentence that they share tells none of them from the others."""
_SHARD_PASSAGES = 1024


class CorpusScan(NamedTuple):
    """The result of one pass over the corpus: its counts, and the numbers of the passages that have
    something of each kind."""

    counts: CorpusCounts
    eligible: Mapping[FreeMethod, NDArray[np.int64]]


def make_free_queries(run: Run, generate: Generate, seed: int, passages: Stage) -> Stage:
    """Take about `generate.free.queries` queries from the corpus by the methods named, spread
    over as many passages as there are.

    Raises:
        UserError: if the corpus has nothing of any of these kinds.
    """
    settings, methods = generate.free, generate.free_methods
    stage = run.open_stage("parsed-free", fingerprint(settings, methods, seed), [passages])
    if not stage.complete:
        scan = scan_corpus(passages, settings)
        numbers = plan_counts(scan, settings, methods, seed)
        reader = PassageReader(passages.folder)

        def draw_shard(seeds: list[int]) -> ShardResult:
            shard = ShardResult([])
            for row in seeds:
                shard.rows += _take(reader[row], numbers[row], scan.counts, settings, seed)
                count_within_shard()
            shard.counts = Counter(row["task_type"] for row in shard.rows)
            return shard

        seeds = sorted(numbers)
        items = [seeds[i : i + _SHARD_PASSAGES] for i in range(0, len(seeds), _SHARD_PASSAGES)]
        stage.map_shards(PARSED, items, draw_shard, size=len, unit="passages")
        stage.finish()
    if not stage.manifest["rows"]:
        raise UserError(
            str(stage.folder),
            f"the corpus gave no query by generate.methods {methods}: no sentence of "
            f"{settings.sentence_words[0]} words or more, no title, no rare words",
            "name other methods, such as keywords, or lower generate.free.sentence_words",
        )
    return stage


def fingerprint(
    settings: FreeQueries, methods: Sequence[FreeMethod], seed: int
) -> dict[str, object]:
    """Collect the settings that change which queries are taken."""
    return {
        **settings.list_fingerprinted(),
        "methods": methods,
        "seed": seed,
        "terms": TERMS_RULE,
        "version": 2,  # 2: what a kind lacks, the others give
    }


def scan_corpus(passages: Stage, settings: FreeQueries) -> CorpusScan:
    """Count the corpus' words and sentences, and list the passages that have a sentence, a title,
    or words enough for a bag. One shard of texts is in memory at a time."""
    total = int(passages.manifest["rows"])
    term_passages: Counter[str] = Counter()
    digests = array("Q")
    eligible: dict[FreeMethod, list[int]] = {"sentences": [], "titles": [], "keywords": []}
    with Progress("count words", total, "passages") as progress:
        for number, passage in enumerate(read_rows(PASSAGES, passages.folder)):
            words, sentences = list_keywords(passage), list_sentences(passage, settings)
            term_passages.update(words)
            digests.extend({digest_sentence(sentence) for sentence in sentences})
            if sentences:
                eligible["sentences"].append(number)
            if passage["title"].strip():
                eligible["titles"].append(number)
            if len(words) >= settings.keyword_terms[0]:
                eligible["keywords"].append(number)
            progress.advance()
    values, times = np.unique(np.frombuffer(digests, np.uint64), return_counts=True)
    boilerplate = frozenset(values[times >= _BOILERPLATE].tolist())
    counts = CorpusCounts(total, dict(term_passages), boilerplate)
    return CorpusScan(counts, {kind: np.array(n, np.int64) for kind, n in eligible.items()})


def plan_counts(
    scan: CorpusScan, settings: FreeQueries, methods: list[FreeMethod], seed: int
) -> dict[int, dict[FreeMethod, int]]:
    """Plan how many queries of each kind each passage gives: one where there are passages enough,
    else as many as reach the kind's share, up to `per_passage`. A title gives one."""
    most: dict[FreeMethod, int] = {
        method: 1 if method == "titles" else settings.per_passage for method in methods
    }
    capacity = {method: most[method] * len(scan.eligible[method]) for method in methods}
    weights = {method: settings.shares.get(method, 1.0) for method in methods}
    plan: dict[int, dict[FreeMethod, int]] = {}
    for method, wanted in share_out(settings.queries, weights, capacity).items():
        rows = scan.eligible[method]
        each = min(most[method], -(-wanted // len(rows)))
        # Another draw for each kind: together they reach more of the corpus.
        draw = random.Random(f"{seed}|{method}")
        for row in draw.sample(rows.tolist(), min(len(rows), -(-wanted // each))):
            plan.setdefault(row, {})[method] = each
    return plan


def share_out(
    total: int, weights: Mapping[FreeMethod, float], capacity: Mapping[FreeMethod, int]
) -> dict[FreeMethod, int]:
    """Divide a number of queries among the kinds by their weights. What a kind cannot give, the
    others give in its place, by their weights. Kinds that give none are left out."""
    shares: dict[FreeMethod, int] = {}
    open_kinds = {method: weight for method, weight in weights.items() if weight > 0}
    while open_kinds:
        left, weight = total - sum(shares.values()), sum(open_kinds.values())
        wanted = {method: round(left * of / weight) for method, of in open_kinds.items()}
        short = [method for method in open_kinds if capacity[method] <= wanted[method]]
        if not short:
            shares |= wanted
            break
        shares |= {method: capacity[method] for method in short}
        open_kinds = {m: of for m, of in open_kinds.items() if m not in short}
    return {method: shares[method] for method in weights if shares.get(method)}


def _take(
    passage: Row,
    numbers: Mapping[FreeMethod, int],
    counts: CorpusCounts,
    settings: FreeQueries,
    seed: int,
) -> list[Row]:
    """Return one passage's queries, as rows of `parsed`."""
    rows = list[Row]()
    for method, count in numbers.items():
        draw = random.Random(f"{seed}|{passage['passage_id']}|{method}")
        queries = draw_queries(passage, method, count, counts, settings, draw)
        for number, query in enumerate(queries):
            rows.append(
                {
                    "query_id": f"{passage['passage_id']}~{method}-{number}",
                    "seed_id": passage["passage_id"],
                    "sample": len(rows),
                    "draw": 0,
                    "task": settings.task,
                    "task_type": method,
                    "query": query,
                    "persona": None,
                    "language": None,
                    "llm": NO_LLM,
                }
            )
    return rows
