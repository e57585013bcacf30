"""What the way of generating is worth: nDCG@10 of one small student trained on naive queries, on
fret's, on fret's behind filters, and on brainstormed examples, of a corpus of the offline data.

    python benchmarks/generation.py --corpus scifact --arms naive,fret,filters,brainstorm

One JSON line an arm: the queries, how many find their seed passage among the retriever's first 20,
the untrained base and the student of each training seed. A run that was stopped continues.
"""

import argparse
import json
import os
from pathlib import Path
from statistics import mean

from distill.evaluate.models.eval_model import load_eval_model
from distill.evaluate.score import score_tasks
from distill.files.atomic import read_json
from distill.generate.filters.candidate import attach_passages
from distill.generate.filters.round_trip import DrawBatch, SeedSearch
from distill.pipeline.job import Job
from distill.recipe import Recipe, load_recipe
from distill.store.passages import PassageReader
from distill.store.run import Run
from distill.store.stage import open_stage
from distill.store.tables import PARSED
from distill.tasks import load_task

RECIPE = Path(__file__).parent.parent / "recipes" / "ablations" / "generation.yaml"

CORPORA = {
    "scifact": ("${DISTILL_DATA}/mteb/SciFact", "${DISTILL_DATA}/mteb", "SciFact"),
    "cacm": ("${DISTILL_DATA}/own/cacm", "${DISTILL_DATA}/own", "cacm"),
    "vaswani": ("${DISTILL_DATA}/own/vaswani", "${DISTILL_DATA}/own", "vaswani"),
}

FILTERS = "{round_trip: 8, max_copied: 0.8, near_duplicates: 0.8, languages: [en]}"
ARMS: dict[str, list[str]] = {
    "naive": ["generate.prompt=prompts/naive.jinja", "generate.task_types=[search]"],
    "fret": [],
    "filters": [f"generate.filters={FILTERS}"],
    "best": ["generate.best_of=3", f"generate.filters={FILTERS}"],
    "brainstorm": ["generate.methods=[brainstorm]"],
}


def recipe_of(corpus: str, arm: str, passages: int, seed: int, sets: list[str]) -> Recipe:
    path, data, task = CORPORA[corpus]
    given = [
        f"corpus.path={path}",
        f"evaluate.task_data={data}",
        f"evaluate.tasks=[{task}]",
        f"generate.passages={passages}",
        f"generate.brainstorm.examples={passages}",
        *ARMS[arm],
        *sets,
    ]
    recipe = load_recipe(RECIPE, given)
    # The seed of training alone: the queries of all seeds are the same.
    recipe.train.seed = seed
    return recipe


def measure(
    corpus: str, arm: str, passages: int, seeds: list[int], root: Path, sets: list[str]
) -> dict[str, object]:
    # One run for all arms: what they have in common is made once, and what an arm does not share is
    # set aside and comes back.
    folder = root / corpus / "run"
    students, base = [], 0.0
    for seed in seeds:
        recipe = recipe_of(corpus, arm, passages, seed, sets)
        task = load_task(recipe.evaluate.tasks[0], Path(recipe.evaluate.task_data or ""))
        with Run(folder, "stale") as run:
            _, untrained, student = Job(run, recipe).train_student()
        # All arms have one base, which is evaluated once.
        [of_base] = score_tasks(load_eval_model(untrained.folder), [task], root / corpus)
        [of_student] = score_tasks(load_eval_model(student.folder), [task], root / corpus)
        students.append(of_student.score)
        base = of_base.score
    return {
        "corpus": corpus,
        "arm": arm,
        **_generated(folder, recipe_of(corpus, arm, passages, seeds[0], sets)),
        "base": round(base, 4),
        "students": [round(s, 4) for s in students],
        "mean": round(mean(students), 4),
    }


def _generated(folder: Path, recipe: Recipe) -> dict[str, object]:
    """Yield of generation, and the share of seeds among the first 20 before the round trip."""
    if not recipe.generate.from_passages:
        manifest = read_json(folder / "examples-brainstorm/.stage/manifest.json")
        return {"examples": manifest["rows"], "counts": manifest["counts"]}
    written, parsed, queries = (
        read_json(folder / f"{name}/.stage/manifest.json")
        for name in ("generations", "parsed", "queries")
    )
    return {
        "written": written["rows"],
        "well_formed": round(parsed["rows"] / written["rows"], 4),
        "seed_in_first_20": round(_seeds_found(folder, recipe, 20), 4),
        "queries": queries["rows"],
        "counts": queries["counts"],
    }


def _seeds_found(folder: Path, recipe: Recipe, depth: int) -> float:
    """The share of parsed queries that bring their seed passage among the first `depth`."""
    passages = open_stage(folder / "passages")
    rows = open_stage(folder / "parsed").read_rows(PARSED)
    draws = attach_passages(rows, PassageReader(passages.folder))
    with Run(folder) as run:
        SeedSearch(run, recipe.retriever, passages, depth).search(DrawBatch(draws))
    return mean(draw.retrieved is not None and draw.retrieved.rank is not None for draw in draws)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", choices=CORPORA, default="cacm")
    parser.add_argument("--arms", default="naive,fret,filters,brainstorm")
    parser.add_argument("--passages", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], dest="sets", metavar="KEY=VALUE")
    parser.add_argument("--root", type=Path, default=Path("artifacts/generation"))
    given = parser.parse_args()
    if not os.environ.get("DISTILL_DATA"):
        parser.error("set DISTILL_DATA to the folder of offline data")
    for arm in given.arms.split(","):
        seeds = list(range(given.seeds))
        line = measure(given.corpus, arm, given.passages, seeds, given.root, given.sets)
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
