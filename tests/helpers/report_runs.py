"""A run's folder as its stages leave it, made by hand."""

from pathlib import Path
from typing import Any

from distill.evaluate.summary import write_summary
from distill.files.atomic import write_json
from distill.store.run import Run

HOSTILE = "<script>alert(1)</script> \"' onload=x javascript:alert(2) {{ 7 * 7 }} \x1b[31m\u202e"
"""A text that would be a script, an attribute, a template or a command to a terminal."""


def make_difference(difference: float, sure: bool = True) -> dict[str, Any]:
    """A difference; without values of single items there is nothing but itself."""
    if not sure:
        named = ("low", "high", "p", "p_holm", "wins", "ties", "losses", "items")
        return {"difference": difference, **dict.fromkeys(named)}
    return {
        "difference": difference,
        "low": difference - 0.02,
        "high": difference + 0.02,
        "p": 0.01,
        "p_holm": 0.02,
        "wins": 30,
        "ties": 5,
        "losses": 15,
        "items": 50,
    }


def make_model(name: str, tasks: dict[str, float], **figures: Any) -> dict[str, Any]:
    known = {
        "model": name,
        "revision": f"revision of {name}",
        "licence": None,
        "parameters": 17_400_000,
        "bytes": 69_600_000,
        "dimensions": 384,
        "texts_per_second": 100.0,
        "latency_ms": 9.0,
        "index_bytes_per_million": 1_536_000_000,
        "score": sum(tasks.values()) / len(tasks),
        "by_category": {"Retrieval": tasks["mine"], "STS": tasks["pairs"]},
        "tasks": tasks,
        "variant_of": None,
        "published": False,
        "mteb": "2.26.24",
    }
    return known | figures


def make_summary() -> dict[str, Any]:
    """Two tasks, of which one has values of single items; five models of all kinds."""
    tasks = {
        "mine": {"category": "Retrieval", "metric": "ndcg_at_10", "revision": "r1", "items": 50},
        "pairs": {"category": "STS", "metric": "cosine_spearman", "revision": "r2", "items": None},
    }
    unknown = ("parameters", "bytes", "texts_per_second", "latency_ms", "index_bytes_per_million")
    models = {
        "base": make_model("distill/base", {"mine": 0.30, "pairs": 0.60}),
        "student": make_model("distill/student", {"mine": 0.40, "pairs": 0.70}),
        "student int8": make_model(
            "distill/student",
            {"mine": 0.39, "pairs": 0.69},
            variant_of="student",
            index_bytes_per_million=384_000_000,
        ),
        "teacher": make_model(
            "owner/teacher",
            {"mine": 0.50, "pairs": 0.80},
            bytes=139_200_000,
            texts_per_second=50.0,
            licence="mit",
        ),
        "owner/known": make_model(
            "owner/known",
            {"mine": 0.45, "pairs": 0.75},
            published=True,
            mteb="1.34",
            **dict.fromkeys(unknown),
        ),
    }
    against = {
        role: {
            "overall": make_difference(difference),
            "tasks": {
                "mine": make_difference(difference),
                "pairs": make_difference(difference, sure=False),
            },
        }
        for role, difference in (("base", 0.1), ("teacher", -0.1))
    }
    unsure = make_difference(-0.05, sure=False)
    against["owner/known"] = {"overall": unsure, "tasks": {"mine": unsure, "pairs": unsure}}
    return {
        "schema": 2,
        "mteb": "2.26.24",
        "tasks": tasks,
        "models": models,
        "kept": 0.8462,
        "differences": {f"student - {role}": of for role, of in against.items()},
    }


def make_changed_query(
    number: int, query: str = "why do bees dance", text: str = "Bees dance."
) -> dict[str, Any]:
    return {
        "query_id": f"q~{number}",
        "task": "Find the answer.",
        "query": query,
        "seed_id": "p1",
        "positive_id": "p2",
        "seed": text,
        "positive": f"Better: {text}",
        "seed_ranks": {"ql": 3, "rc": None, "retriever": 2, "fusion": 3},
        "positive_ranks": {"ql": 1, "rc": 1, "retriever": 5, "fusion": 1},
    }


RELABELLED = {
    "share_relabelled": 0.152,
    "share_seed_not_retrieved": 0.03,
    "seed_rank": {
        "ql": {"share_first": 0.5, "share_within_3": 0.75, "mean_reciprocal_rank": 0.625},
        "retriever": {"share_first": 0.25, "share_within_3": 0.5, "mean_reciprocal_rank": 0.4},
    },
    "kendall_tau": {"ql": {"retriever": 0.3}, "retriever": {"ql": 0.3}},
    "scores": {"ql": {"edges": [-2.0, -1.0, 0.0], "positive": [1, 4], "others": [48, 2]}},
}


def write_run(folder: Path, hostile: bool = False) -> Path:
    """Everything but the data of the evaluation: from passages to a summary."""
    text = HOSTILE if hostile else "Bees dance to tell other bees where the flowers are."
    with Run(folder) as run:
        passages = run.open_stage("passages", {})
        passages.finish(rows=500, counts={"dropped short": 7, "kept": 500})
        generations = run.open_stage("generations", {}, [passages])
        tokens = {"prompt": 5000, "shared": 4000, "new": 700}
        generations.finish(rows=100, seconds=12.5, counts={"written": 100}, tokens=tokens)
        parsed = run.open_stage("parsed", {}, [generations])
        parsed.finish(rows=80, counts={"dropped: malformed": 5, "dropped: unfinished": 15})
        queries = run.open_stage("queries", {}, [passages, parsed])
        queries.finish(rows=60, counts={"dropped: round trip": 20, "kept": 60})
        judged = run.open_stage(
            "judgements-ql", {"llm": {"model": "owner/llm", "revision": "c0ffee"}}
        )
        judged.finish(rows=1000, seconds=40.0, counts={"pairs": 1000, "judged before": 200})
        examples = run.open_stage("examples", {}, [queries, judged])
        counts = {"kept": 60, "positive changed": 9, "fewer negatives than asked": 4}
        examples.finish(rows=60, counts=counts, **RELABELLED)
        write_json(
            examples.metadata_dir / "changes.json",
            [make_changed_query(n, f"why do bees dance {n}", text) for n in range(9)],
        )
        base = run.open_stage("base", {})
        base.finish()
        student = run.open_stage("student", {}, [examples, base])
        curve = [
            {"step": s, "epoch": s / 40, "loss": 1 / s, "infonce": 0.9 / s} for s in (1, 10, 20)
        ]
        looks = [{"step": s, "ndcg_at_10": s / 100} for s in (0, 20)]
        write_json(student.folder / "training.json", {"curve": curve, "looks": looks})
        student.finish(seconds=30.0, steps=20, loss_last=0.05)
        evaluation = run.open_stage("evaluation", {}, [base, student])
        write_summary(evaluation.folder / "summary.json", make_summary())
        evaluation.finish(seconds=60.0)
    recipe = f"name: bees\nllm:\n  model: owner/llm\nteacher:\n  model: owner/teacher\n# {text!r}\n"
    (folder / "recipe.yaml").write_text(recipe, encoding="utf-8")
    return folder


DECONTAMINATION = {
    "tasks": "SciFact, held-out",
    "run of words": 8,
    "evaluation queries": 312,
    "evaluation queries too short to check": 1,
    "queries dropped": 5,
    "seed passages": 90,
    "seed passages that hold an evaluation query": 3,
    "seed passages that share words with an evaluation document": 88,
}
