"""A model and BM25 together, ranked by the weighted sum of standardised scores (ours, as search,
evaluation and an exported index rank) and by reciprocal rank fusion with a constant of 60 (as most
databases do): nDCG@10 of both from the same two lists, with the paired interval. Prints one JSON
line for the teacher, and one for the student where `benchmarks/worth.py` has trained one, with the
difference of student + BM25 and teacher + BM25.

    DISTILL_DATA=... python benchmarks/hybrid.py cacm
    python benchmarks/hybrid.py cacm --weight 0.5
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from worth import FOLDERS, PACKAGES, collect_settings, share_vectors

import distill
from distill.api.run_folder import open_run
from distill.evaluate.baselines import searchers
from distill.evaluate.baselines.rankings import Rankings, read_rankings
from distill.evaluate.baselines.searchers import BM25Search, FusedSearch
from distill.evaluate.models.mteb_encoder import build_model_meta
from distill.evaluate.models.run_models import RunModelSettings, load_run_models
from distill.evaluate.score import get_rankings_path, score_search, score_tasks
from distill.evaluate.stage import HELD_OUT, load_named_tasks
from distill.evaluate.statistics.significance import compare_scores
from distill.recipe import Recipe
from distill.retrieve import fusion
from distill.retrieve.fusion import fuse_reciprocal_ranks
from distill.tasks import load_task

CONSTANT = 60


@click.command()
@click.argument("corpus", type=click.Choice([*FOLDERS, *PACKAGES]))
@click.option("--seed", default=13, show_default=True, help="Of the run of benchmarks/worth.py.")
@click.option("--name", default="whole", show_default=True, help="Likewise.")
@click.option("--weight", type=float, help="Of the model's similarity; BM25 has the rest.")
@click.option("--root", default=Path("artifacts/worth"), type=click.Path(path_type=Path))
def main(corpus: str, seed: int, name: str, weight: float | None, root: Path) -> None:
    run = root / f"{corpus}-{name}-{seed}"
    trained = (run / "student/.stage/manifest.json").exists()
    if not trained and corpus in PACKAGES:
        raise click.UsageError(f"run benchmarks/worth.py {corpus} --seed {seed} before")
    recipe = (
        open_run(run).recipe
        if trained
        else distill.load_recipe(Path("recipes/adapt.yaml"), collect_settings(corpus))
    )
    if weight is not None:
        fusion.HYBRID_WEIGHTS.update(dense=weight, bm25=1 - weight)
    students = {"student": run / "student"} if trained else {}
    out = root / f"{corpus}-hybrids-{seed}"
    share_vectors(root / f"{corpus}-vectors", out)
    for line in compare_hybrids(recipe, run, students, out / "evaluated"):
        print(json.dumps({"name": f"{corpus}, {line['model']}", "seed": seed} | line))


def compare_hybrids(
    recipe: Recipe, run: Path, students: dict[str, Path], out: Path
) -> list[dict[str, Any]]:
    """Score both kinds of hybrid of each model; its rankings and BM25's are computed once."""
    held_out = HELD_OUT in recipe.evaluate.tasks
    (task,) = (
        [load_task(HELD_OUT, run)]
        if held_out
        else load_named_tasks(recipe.evaluate, recipe.own_corpus, recipe.seed)
    )
    bm25 = BM25Search(recipe.retriever.bm25)
    words = score_search(bm25, "bm25", task, out, ranked=True)
    lexical = read_rankings(get_rankings_path(out, task, bm25.mteb_model_meta))
    lines, hybrids = [], {}
    for role, model in load_run_models(RunModelSettings.select(recipe), students).items():
        (alone,) = score_tasks(model, [task], out, ranked=True)
        dense = read_rankings(get_rankings_path(out, task, build_model_meta(model)))
        by_rule = {
            rule: score_search(
                kind(f"{model.name}-{rule}", {"role": role}, _Read(dense, lexical)),
                f"{role} + BM25 by {rule}",
                task,
                out,
            )
            for rule, kind in (("scores", FusedSearch), ("ranks", ReciprocalRanks))
        }
        ours, peer = by_rule["scores"], by_rule["ranks"]
        hybrids[role] = ours
        lines.append(
            {
                "model": role,
                "unit": "nDCG@10",
                "weights": dict(fusion.HYBRID_WEIGHTS),
                "ours": round(ours.score, 4),
                "peer": round(peer.score, 4),
                "peer_is": f"reciprocal rank fusion, k = {CONSTANT}",
                "ratio": round(ours.score / peer.score, 4),
                "ours_minus_peer": compare_scores([ours], [peer])["overall"],
                "alone": round(alone.score, 4),
                "bm25": round(words.score, 4),
            }
        )
    if "student" in hybrids:
        both = compare_scores([hybrids["student"]], [hybrids["teacher"]])["overall"]
        lines[0]["student_minus_teacher"] = both
    return lines


class ReciprocalRanks(FusedSearch):
    """The same two lists by reciprocal rank fusion."""

    @property
    def mteb_model_meta(self) -> Any:
        """The model's description in mteb's form."""
        return searchers.build_search_meta(self.name, f"ranks-{CONSTANT}")

    def search(
        self, queries: Any, *, hf_split: str, hf_subset: str, top_k: int, **kwargs: Any
    ) -> searchers.RetrievedScores:
        """Fuse both rankings of each query."""
        assert self._rankings is not None
        lists = [rankings[f"{hf_split}/{hf_subset}"] for rankings in self._rankings]
        return {
            query: searchers.make_falling_scores(
                fuse_reciprocal_ranks([list(of[query]) for of in lists], CONSTANT, top_k)
            )
            for query in queries["id"]
        }


class _Read:
    """Gives the two rankings that it holds."""

    def __init__(self, *rankings: Rankings) -> None:
        self._rankings = rankings

    def __call__(self) -> Sequence[Rankings]:
        return self._rankings


if __name__ == "__main__":
    main()
