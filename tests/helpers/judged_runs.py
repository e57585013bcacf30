"""A run whose verdict rests on a pool that an LLM judged, made by hand: the student is better than
its base, and the LLM says the opposite."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill.evaluate.judged.collection import PairId
from distill.evaluate.judged.grades import grade_relevance
from distill.evaluate.judged.pool import JUDGEMENTS_FILE, SystemRankings
from distill.evaluate.judged.sheet import RANKINGS_FILE
from distill.evaluate.summary import name_difference, write_summary
from distill.evaluate.verdict import build_verdict, list_pairs
from distill.files.atomic import write_json
from distill.store.run import Run
from distill.tasks.beir_folder import write_json_lines
from helpers.report_runs import make_difference, make_model

QUERIES = [f"q{number}" for number in range(40)]
SCORES = {
    "base": 0.7,
    "student": 0.4,
    "teacher": 0.4,
    "bm25": 0.7,
    "base + bm25": 0.7,
    "student + bm25": 0.5,
    "teacher + bm25": 0.5,
}
RIGHT = ("student", "teacher", "student + bm25", "teacher + bm25")
"""Systems that have each query's answer first; the others have another passage there."""


def is_answer(pair: PairId) -> bool:
    """What a person says."""
    return pair[1] == f"answer-{pair[0]}"


RANKINGS = {
    role: {query: [f"{'answer' if role in RIGHT else 'other'}-{query}"] for query in QUERIES}
    for role in SCORES
}
RELEVANCE = {
    (query, f"{what}-{query}"): relevance
    for query in QUERIES
    for what, relevance in (("answer", 0.1), ("other", 0.9))
}
"""By the LLM, of the pairs of the pool."""


def write_judged_run(
    folder: Path,
    rankings: SystemRankings = RANKINGS,
    relevance: Mapping[PairId, float] = RELEVANCE,
) -> Path:
    """A run whose student, by the LLM, is far worse than its base."""
    with Run(folder) as run:
        base, student = run.open_stage("base", {}), run.open_stage("student", {})
        base.finish()
        student.finish()
        pool = run.open_stage("judged", {})
        write_json_lines(
            pool.folder / "queries.jsonl",
            [
                {"_id": query, "text": f"What is {query}?", "seed": ""}
                for query in rankings["student"]
            ],
        )
        write_json_lines(
            pool.folder / "corpus.jsonl",
            [{"_id": id_, "title": "", "text": f"A passage, {id_}."} for _, id_ in relevance],
        )
        write_json_lines(
            pool.folder / JUDGEMENTS_FILE,
            [
                {
                    "query_id": pair[0],
                    "passage_id": pair[1],
                    "relevance": score,
                    "grade": grade_relevance(score, "graded"),
                    "relevant": score > 0.5,
                }
                for pair, score in relevance.items()
            ],
        )
        pool.finish(judge="owner/llm")
        evaluation = run.open_stage("evaluation", {}, [base, student, pool])
        write_json(evaluation.folder / RANKINGS_FILE, rankings)
        write_summary(evaluation.folder / "summary.json", make_judged_summary())
        evaluation.finish()
    (folder / "recipe.yaml").write_text("name: mine\n", encoding="utf-8")
    return folder


def make_judged_summary() -> Any:
    """What an evaluation by the LLM's judgments says."""
    models = {
        role: make_model(f"owner/{role}", {"mine": score, "pairs": score}, baseline="bm25" in role)
        | {"tasks": {"judged": score}, "by_category": {"Retrieval": score}}
        for role, score in SCORES.items()
    }
    differences = {
        name_difference(one, other): {
            "overall": make_difference(SCORES[one] - SCORES[other]),
            "tasks": {"judged": make_difference(SCORES[one] - SCORES[other])},
        }
        for one, other in list_pairs(SCORES, ())
    }
    of = {"category": "Retrieval", "metric": "ndcg_at_10", "revision": "1", "items": len(QUERIES)}
    summary = {
        "schema": 2,
        "mteb": "2.26.24",
        "tasks": {"judged": of},
        "unaveraged": [],
        "models": models,
        "kept": 1.0,
        "retention": None,
        "differences": differences,
    }
    return summary | {"verdict": build_verdict(summary)}  # type: ignore[arg-type]
