"""What each ranker is worth: nDCG@10 of the retriever's first 20 in the order of the retriever, of
query likelihood, of relevance (yes/no, graded, and centred by query and passage), of both read off
one fused prompt, of every pair of them by reciprocal rank fusion, and of cascades.

    python benchmarks/rerank.py --corpus cacm
    python benchmarks/rerank.py --corpus vaswani

One JSON line. Judged queries of a labelled collection are ranked, nothing is trained.
"""

import argparse
import json
import os
import time
from collections import defaultdict
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from statistics import mean
from typing import Any

import pytrec_eval

from distill.embed.encoder import Encoder
from distill.embed.open_embedder import load_encoder
from distill.files.atomic import read_json, write_json
from distill.llm.judge import judge_fused, judge_graded, judge_ql, judge_rc
from distill.llm.prompts import load_prompt
from distill.llm.transformers.engine import TransformersEngine
from distill.recipe import EmbedderConfig, Relabel, load_recipe
from distill.recipe.packaged import get_packaged_folder
from distill.relabel.fuse import make_label_rows
from distill.retrieve.exact import ExactIndex
from distill.store.stage import fingerprint
from distill.text.sanitize import sanitize_for_prompt

CORPORA = {"cacm": "own/cacm", "vaswani": "own/vaswani", "scifact": "mteb/SciFact"}
TOP_K = 20
Scores = dict[tuple[str, str], float]


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


class Collection:
    """Passages, judged queries, judgments, and each query's first candidates."""

    def __init__(self, folder: Path, most: int) -> None:
        rows = read_jsonl(folder / "corpus.jsonl")
        self.passages = {r["_id"]: f"{r.get('title') or ''} {r['text']}".strip() for r in rows}
        self.relevant: dict[str, dict[str, int]] = defaultdict(dict)
        for line in (folder / "qrels" / "test.tsv").read_text().splitlines()[1:]:
            query, passage, score = line.split("\t")
            self.relevant[query][passage] = int(float(score))
        asked = [r for r in read_jsonl(folder / "queries.jsonl") if r["_id"] in self.relevant]
        self.queries = {r["_id"]: r["text"] for r in asked[:most]}
        self.relevant = {q: self.relevant[q] for q in self.queries}

    def retrieve(self, encoder: Encoder) -> list[list[dict[str, Any]]]:
        """Rows of candidates, a list for each query."""
        ids = list(self.passages)
        index = ExactIndex(encoder.encode(list(self.passages.values()), "document"))
        scores, rows = index.search(encoder.encode(list(self.queries.values()), "query"), TOP_K)
        return [
            [
                {"query_id": q, "passage_id": ids[row], "rank": rank, "similarity": float(score)}
                for rank, (score, row) in enumerate(zip(scores[n], rows[n], strict=True), start=1)
            ]
            for n, q in enumerate(self.queries)
        ]

    def ndcg(self, run: Mapping[str, Mapping[str, float]]) -> float:
        evaluator = pytrec_eval.RelevanceEvaluator(self.relevant, {"ndcg_cut_10"})
        return mean(of["ndcg_cut_10"] for of in evaluator.evaluate(run).values())


def judge_all(
    engine: TransformersEngine,
    collection: Collection,
    candidates: list[list[dict[str, Any]]],
    given: argparse.Namespace,
) -> tuple[dict[str, Scores], dict[str, float]]:
    """Scores by ranker, and pairs a second of each pass. A pass whose scores are kept from before
    is not done again, and has no speed."""
    of_passage: dict[str, list[str]] = defaultdict(list)
    for row in (row for of_query in candidates for row in of_query):
        of_passage[row["passage_id"]].append(row["query_id"])
    groups = sorted(of_passage.items())
    asked = [
        (
            sanitize_for_prompt(collection.passages[p], given.words),
            [collection.queries[q] for q in of_it],
        )
        for p, of_it in groups
    ]
    pairs = [(q, p) for p, of_it in groups for q in of_it]
    passes = {
        "ql": ("ql", lambda prompt: [judge_ql(engine, prompt, asked)]),
        "rc": ("rc", lambda prompt: [judge_rc(engine, prompt, asked)]),
        "graded": ("graded", lambda prompt: [judge_graded(engine, prompt, asked)]),
        "fused": ("rc", lambda prompt: [*judge_fused(engine, prompt, asked)]),
    }
    names = {"fused": ["ql_fused", "rc_fused"]}
    scores, speed = {}, {}
    for name in given.passes.split(","):
        file, judge = passes[name]
        prompt = load_prompt(f"prompts/{file}.jinja", get_packaged_folder(), parts=2)
        mark = fingerprint(name, {"prompt": prompt.source, "asked": asked}, {})
        path = given.keep / f"{name}-{mark}.json"
        if not path.exists():
            begun = time.perf_counter()
            given.keep.mkdir(parents=True, exist_ok=True)
            write_json(path, judge(prompt))
            speed[name] = round(len(pairs) / (time.perf_counter() - begun), 1)
        found = read_json(path)
        for ranker, judged in zip(names.get(name, [name]), found, strict=True):
            flat = [score for of in judged for score, _ in of]
            scores[ranker] = dict(zip(pairs, flat, strict=True))
    if "rc" in scores:
        scores["rc_centred"] = centred(scores["rc"])
    return scores, speed


def centred(scores: Scores) -> Scores:
    """Less each query's mean, then less each passage's mean of that."""
    of_query, of_passage = defaultdict(list), defaultdict(list)
    for (q, _), score in scores.items():
        of_query[q].append(score)
    once = {(q, p): score - mean(of_query[q]) for (q, p), score in scores.items()}
    for (_, p), score in once.items():
        of_passage[p].append(score)
    return {(q, p): score - mean(of_passage[p]) for (q, p), score in once.items()}


def orders(
    candidates: list[list[dict[str, Any]]], scores: dict[str, Scores], rule: Relabel
) -> dict[str, dict[str, float]]:
    """Each query's passages with scores that fall in the order of fusion, ties as relabelling
    breaks them: by the first-named ranker."""
    run = {}
    for of_query in candidates:
        rows = make_label_rows(of_query, scores, rule)
        first = f"{rule.rankers[0]}_rank"
        rows.sort(key=lambda row: (-row["rrf"], row[first] or TOP_K, row["retriever_rank"]))
        run[of_query[0]["query_id"]] = {
            row["passage_id"]: float(TOP_K - place) for place, row in enumerate(rows)
        }
    return run


def evaluate(
    collection: Collection, candidates: list[list[dict[str, Any]]], scores: dict[str, Scores]
) -> dict[str, float]:
    """nDCG@10 of each ranker, each pair, and cascades by the retriever or rc."""

    def ndcg(rankers: list[str], **settings: Any) -> float:
        # `make_label_rows` knows judges by their columns; which scores stand in one is ours to say.
        judges = [ranker for ranker in rankers if ranker != "retriever"]
        columns = dict(zip(judges, ("ql", "rc"), strict=False))
        given = {column: scores[ranker] for ranker, column in columns.items()}
        rule = Relabel(rankers=[columns.get(ranker, "retriever") for ranker in rankers], **settings)
        return round(collection.ndcg(orders(candidates, given, rule)), 4)

    rankers = ["retriever", *scores]
    found = {ranker: ndcg([ranker]) for ranker in rankers}
    for a, b in combinations(rankers, 2):
        found[f"{b} + {a}"] = ndcg([b, a])
    for k in (2, 10, 60):
        found[f"ql + retriever, k = {k}"] = ndcg(["ql", "retriever"], rrf_k=k)
    found["2 ql + retriever, k = 10"] = ndcg(["ql", "retriever"], rrf_k=10, weights={"ql": 2.0})
    for by, fused in (("retriever", ["ql", "retriever"]), ("rc", ["ql", "retriever", "rc"])):
        if by not in rankers:
            continue
        for keep in (TOP_K, 12, 8):
            rule = Relabel(rankers=fused, cascade={"by": [by], "keep": keep})
            run = orders(candidates, cascaded(candidates, scores, rule), rule)
            found[f"{' + '.join(fused)}, {keep} by {by}"] = round(collection.ndcg(run), 4)
    best = {
        q: {row["passage_id"]: float(rel.get(row["passage_id"], 0)) for row in of_query}
        for (q, rel), of_query in zip(collection.relevant.items(), candidates, strict=True)
    }
    return found | {"best possible": round(collection.ndcg(best), 4)}


def cascaded(
    candidates: list[list[dict[str, Any]]], scores: dict[str, Scores], rule: Relabel
) -> dict[str, Scores]:
    """The scores that a cascade gives its rankers: QL of the survivors alone."""
    first = rule.model_copy(update={"rankers": rule.cascade.by})
    known = {"rc": scores["rc"]} if "rc" in rule.rankers else {}
    kept = set()
    for of_query in candidates:
        rows = sorted(
            make_label_rows(of_query, known, first), key=lambda r: (-r["rrf"], r["retriever_rank"])
        )
        kept |= {(r["query_id"], r["passage_id"]) for r in rows[: rule.cascade.keep]}
    return known | {"ql": {pair: score for pair, score in scores["ql"].items() if pair in kept}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", choices=CORPORA, default="cacm")
    parser.add_argument("--queries", type=int, default=300, help="At most so many.")
    parser.add_argument("--words", type=int, default=120, help="Passages are cut to so many.")
    parser.add_argument("--passes", default="ql,rc,graded,fused")
    parser.add_argument("--llm", help="In place of the demo's.")
    parser.add_argument("--retriever", help="In place of the demo's.")
    parser.add_argument("--keep", type=Path, default=Path("artifacts/rerank"))
    given = parser.parse_args()
    if not os.environ.get("DISTILL_DATA"):
        parser.error("set DISTILL_DATA to the folder of offline data")
    recipe = load_recipe(get_packaged_folder() / "demo.yaml")
    collection = Collection(Path(os.environ["DISTILL_DATA"], CORPORA[given.corpus]), given.queries)
    retriever = given.retriever or recipe.retriever.model
    encoder = load_encoder(retriever, EmbedderConfig(max_tokens=256, device="cpu"))
    candidates = collection.retrieve(encoder)
    engine = TransformersEngine(given.llm or recipe.llm.model, dtype="float32", device="cpu")
    scores, speed = judge_all(engine, collection, candidates, given)
    print(
        json.dumps(
            {
                "name": "rerank",
                "corpus": given.corpus,
                "queries": len(collection.queries),
                "pairs": len(scores["ql"]),
                "ndcg_at_10": evaluate(collection, candidates, scores),
                "pairs_per_second": speed,
            }
        )
    )


if __name__ == "__main__":
    main()
