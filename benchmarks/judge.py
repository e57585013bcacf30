"""The distilled judge beside the LLM that teaches it: pairs a second on the same pairs, and nDCG@10
of both as rerankers of the retriever's first 20 on a labelled collection, of whose queries and
labels neither has seen one.

    python benchmarks/judge.py --corpus cacm

One JSON line. The judge is trained as `distill train-judge` does, on sentences and titles of the
corpus; all stages lie in the folder `--run`, so that a second call measures alone.
"""

import argparse
import json
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytrec_eval
from rerank import CORPORA, Collection, Scores

import distill
from distill.embed.open_embedder import load_encoder
from distill.evaluate.statistics.resampling import resample_items
from distill.files.atomic import read_json, write_json
from distill.llm.judge import JudgeRequests, judge_ql
from distill.llm.prompts import load_prompt
from distill.llm.transformers.engine import TransformersEngine
from distill.recipe import EmbedderConfig, Recipe, load_recipe
from distill.recipe.packaged import get_packaged_folder
from distill.retrieve.cross_encoder import CrossEncoderJudge
from distill.store.stage import open_stage
from distill.text.sanitize import sanitize_for_prompt
from distill.train.judge.base import JudgeTraining, open_base

WORDS = 120
"""Passages are cut to so many in the LLM's prompt."""
TIMED = 90
"""Passages whose pairs are judged by both against the clock."""


def make_recipe(given: argparse.Namespace, data: Path) -> Recipe:
    """The demo's models; the LLM judges short lists of queries out of the corpus itself."""
    demo = load_recipe(get_packaged_folder() / "demo.yaml")
    llm = {"model": given.llm} if given.llm else {}
    settings = {
        "name": "judge-benchmark",
        "corpus": {"source": "beir", "path": str(data / CORPORA[given.corpus]), "held_out": 0},
        "llm": demo.llm.model_dump(mode="json") | {"device": "cpu", "dtype": "float32"} | llm,
        "generate": {"methods": ["sentences", "titles"], "free": {"queries": given.queries}},
        "retriever": {
            "model": given.encoder or demo.retriever.model,
            "max_tokens": 256,
            "device": "cpu",
            "sources": ["dense", "bm25"],
            "merge": "union",
            "bm25": {"language": "english"},
        },
        "relabel": {
            "rankers": ["cross_encoder", "retriever"],
            "cross_encoder": "judge",
            "max_passage_words": WORDS,
        },
        "judge": {
            "encoder": given.encoder or demo.student.encoder,
            "layers": given.layers,
            "rankers": given.teachers.split(","),
            "top_k": given.top_k,
            "queries": given.judged,
            "max_tokens": given.max_tokens,
            "epochs": given.epochs,
            "learning_rate": given.learning_rate,
            "device": "cpu",
        },
    }
    return Recipe.model_validate(settings)


def group_pairs(
    collection: Collection, candidates: list[list[dict[str, Any]]]
) -> tuple[JudgeRequests, list[tuple[str, str]]]:
    """Passages with their queries, and the pairs (query id, passage id) in the same order."""
    of_passage: dict[str, list[str]] = {}
    for row in (row for of_query in candidates for row in of_query):
        of_passage.setdefault(row["passage_id"], []).append(row["query_id"])
    groups = sorted(of_passage.items())
    requests = [
        (
            sanitize_for_prompt(collection.passages[id_], WORDS),
            [collection.queries[q] for q in of_it],
        )
        for id_, of_it in groups
    ]
    return requests, [(q, id_) for id_, of_it in groups for q in of_it]


def score_by_query(collection: Collection, scores: Scores) -> dict[str, float]:
    """nDCG@10 of each query."""
    run: dict[str, dict[str, float]] = {}
    for (query, passage), score in scores.items():
        run.setdefault(query, {})[passage] = score
    evaluator = pytrec_eval.RelevanceEvaluator(collection.relevant, {"ndcg_cut_10"})
    return {query: of["ndcg_cut_10"] for query, of in evaluator.evaluate(run).items()}


def compare(ours: dict[str, float], theirs: dict[str, float]) -> dict[str, float]:
    """The mean difference over queries, with its 95 % interval."""
    differences = np.array([ours[query] - theirs[query] for query in sorted(ours)])
    drawn = resample_items(differences, np.random.default_rng(0)).bootstrap
    low, high = np.percentile(drawn, [2.5, 97.5])
    return {
        name: round(float(value), 4)
        for name, value in (("difference", differences.mean()), ("low", low), ("high", high))
    }


def measure_speed(
    engine: TransformersEngine, judge: CrossEncoderJudge, requests: JudgeRequests
) -> dict[str, Any]:
    """Pairs a second of both on the same pairs."""
    prompt = load_prompt("prompts/ql.jinja", get_packaged_folder(), parts=2)
    count, seconds = sum(len(queries) for _, queries in requests), {}
    for name, ask in (
        ("judge", judge.judge),
        ("llm", lambda of: judge_ql(engine, prompt, of)),
    ):
        ask(requests[:4])  # warm
        start = time.perf_counter()
        ask(requests)
        seconds[name] = time.perf_counter() - start
    return {
        "pairs_timed": count,
        "pairs_per_second": {n: round(count / of, 1) for n, of in seconds.items()},
        "ratio": round(seconds["llm"] / seconds["judge"], 1),
    }


def measure_untrained(recipe: Recipe, given: argparse.Namespace, data: Path) -> dict[str, Any]:
    """The speeds alone, of a judge before its training, on passages with one query or two."""
    collection = Collection(data / CORPORA[given.corpus], 1000)
    queries = list(collection.queries.values())
    texts = [sanitize_for_prompt(text, WORDS) for text in collection.passages.values()][:TIMED]
    requests = [
        (text, [queries[(n + i) % len(queries)] for i in range(2 if n % 3 == 0 else 1)])
        for n, text in enumerate(texts)
    ]
    with TemporaryDirectory() as folder:
        base = open_base(JudgeTraining.select(recipe))
        base.save_pretrained(folder, create_model_card=False)
        judge = CrossEncoderJudge(folder, given.max_tokens, "cpu")
    engine = TransformersEngine(recipe.llm.model, dtype="float32", device="cpu")
    return {"name": "judge", "corpus": given.corpus, **measure_speed(engine, judge, requests)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", choices=CORPORA, default="cacm")
    parser.add_argument("--queries", type=int, default=400, help="Taken from the corpus.")
    parser.add_argument("--judged", type=int, default=200, help="Of these, judged by the LLM.")
    parser.add_argument("--top-k", type=int, default=4, help="Of each of the two searches.")
    parser.add_argument("--teachers", default="ql,retriever,bm25")
    parser.add_argument("--layers", type=json.loads, default=[0, 2, 5])
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--epochs", type=float, default=4)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--llm", help="In place of the demo's.")
    parser.add_argument("--encoder", help="In place of the demo's, as retriever and as judge.")
    parser.add_argument("--speed", action="store_true", help="Measure the speeds alone.")
    parser.add_argument("--run", type=Path, default=Path("artifacts/judge-benchmark"))
    given = parser.parse_args()
    if not os.environ.get("DISTILL_DATA"):
        parser.error("set DISTILL_DATA to the folder of offline data")
    data, begun = Path(os.environ["DISTILL_DATA"]), time.perf_counter()
    recipe = make_recipe(given, data)
    if given.speed:
        print(json.dumps(measure_untrained(recipe, given, data)))
        return
    run = distill.train_judge(recipe, given.run, "stale")
    trained = time.perf_counter() - begun
    collection = Collection(data / CORPORA[given.corpus], 1000)
    found = given.run / "candidates.json"
    if not found.exists():
        config = EmbedderConfig(max_tokens=256, device="cpu")
        write_json(found, collection.retrieve(load_encoder(recipe.retriever.model, config)))
    candidates = read_json(found)
    requests, pairs = group_pairs(collection, candidates)
    engine = TransformersEngine(recipe.llm.model, dtype="float32", device="cpu")
    prompt = load_prompt("prompts/ql.jinja", get_packaged_folder(), parts=2)
    judge = CrossEncoderJudge(str(run.folder / "judge"), given.max_tokens, "cpu")
    speed = measure_speed(engine, judge, requests[:TIMED])
    known = given.run / "llm-scores.json"
    if not known.exists():
        write_json(known, [s for of in judge_ql(engine, prompt, requests) for s, _ in of])
    scores: dict[str, Scores] = {
        "retriever": {
            (row["query_id"], row["passage_id"]): row["similarity"]
            for of in candidates
            for row in of
        },
        "llm": dict(zip(pairs, read_json(known), strict=True)),
        "judge": dict(zip(pairs, [s for of in judge.judge(requests) for s, _ in of], strict=True)),
    }
    by_query = {name: score_by_query(collection, of) for name, of in scores.items()}
    figures = open_stage(run.folder / "judge").manifest["figures"]
    print(
        json.dumps(
            {
                "name": "judge",
                "corpus": given.corpus,
                "teachers": given.teachers,
                "lists": figures["lists"],
                "pairs_in_order": figures.get("pairs_in_order"),
                "known_pairs_won": figures["known_pairs_won"],
                **speed,
                "queries": len(collection.queries),
                "ndcg_at_10": {
                    name: round(float(np.mean([*of.values()])), 4) for name, of in by_query.items()
                },
                "judge_minus_llm": compare(by_query["judge"], by_query["llm"]),
                "judge_minus_retriever": compare(by_query["judge"], by_query["retriever"]),
                "seconds_to_train": round(trained),
            }
        )
    )


if __name__ == "__main__":
    main()
