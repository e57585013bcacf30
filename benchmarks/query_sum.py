"""The sum of two query vectors in the teacher's space: a transformer's and, times a weight, that of
the static query encoder of the same corpus, which is a look-up. The transformer is the teacher
itself, or the query encoder adapted to the corpus. nDCG@10 with the paired interval to the teacher;
documents keep the teacher's vectors. Both runs have to be there, of one seed:

    python benchmarks/worth.py cacm && python benchmarks/worth.py cacm --static
    python benchmarks/query_sum.py cacm

Prints one JSON line: `ours` is the adapted query encoder and half of the static one, `peer` the
adapted one alone.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np

import distill
from distill.embed.encoder import Vectors
from distill.evaluate.models.eval_model import EvalModel
from distill.evaluate.models.run_models import RunModelSettings, load_run_models
from distill.evaluate.score import TaskScore, score_tasks
from distill.evaluate.stage import HELD_OUT, load_named_tasks
from distill.evaluate.statistics.significance import compare_scores
from distill.tasks import load_task
from distill.text.format import Side

WEIGHTS = (0.25, 0.5, 0.75)
CHOSEN = 0.5


@click.command()
@click.argument("corpus")
@click.option("--seed", default=13, show_default=True)
@click.option("--adapted", default="whole", show_default=True, help="Name of the adapted run.")
@click.option("--root", default=Path("artifacts/worth"), type=click.Path(path_type=Path))
def main(corpus: str, seed: int, adapted: str, root: Path) -> None:
    folders = {kind: root / f"{corpus}-{kind}-{seed}" for kind in (adapted, "static")}
    models = load_sums(folders[adapted], folders["static"])
    scores = score_all(models, folders[adapted], root / f"{corpus}-sum-{seed}")
    ours, peer = scores[name_sum("adapted", CHOSEN)], scores["adapted"]
    line = {
        "name": f"{corpus}-sum-{seed}",
        "unit": "nDCG@10",
        "ours": ours.score,
        "peer": peer.score,
        "peer_is": "the adapted query encoder",
        "ratio": round(ours.score / peer.score, 4),
        "ours_minus_peer": compare_scores([ours], [peer])["overall"],
        "scores": {name: score.score for name, score in scores.items()},
        "minus_teacher": {
            name: compare_scores([score], [scores["teacher"]])["overall"]
            for name, score in scores.items()
            if name != "teacher"
        },
    }
    print(json.dumps(line))


class SumEmbedder:
    """Embeds queries by the sum of unit vectors of several models, each times its weight."""

    normalizes = True
    pools_prompts = True

    def __init__(self, parts: Sequence[tuple[EvalModel, float]]) -> None:
        self.parts = parts
        self.dimensions = parts[0][0].dimensions

    def describe_identity(self, prompt: str, side: Side | None) -> dict[str, str | int]:
        """Describe what changes a vector: the models and their weights."""
        return {f"{model.name}@{model.revision}": str(weight) for model, weight in self.parts}

    def embed(self, texts: Sequence[str], prompt: str, side: Side | None) -> Vectors:
        """Return (texts, dimensions) unit vectors."""
        total = sum(weight * scale(model.encode(texts, "query")) for model, weight in self.parts)
        return scale(np.asarray(total, np.float32))


def scale(vectors: Vectors) -> Vectors:
    """Scale vectors to unit length."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def load_sums(adapted: Path, static: Path) -> dict[str, EvalModel]:
    """Load teacher, adapted and static query encoder, and the sums, by name."""
    found, other = load_models(adapted), load_models(static)
    models = {"teacher": found["teacher"], "adapted": found["student"], "static": other["student"]}
    for whole in ("teacher", "adapted"):
        for weight in WEIGHTS:
            parts = [(models[whole], 1.0), (models["static"], weight)]
            models[name_sum(whole, weight)] = add_models(parts, models["teacher"], weight)
    return models


def load_models(run: Path) -> dict[str, EvalModel]:
    """Load a run's student and teacher."""
    settings = RunModelSettings.select(distill.open_run(run).recipe)
    return load_run_models(settings, {"student": run / "student"})


def add_models(
    parts: Sequence[tuple[EvalModel, float]], teacher: EvalModel, weight: float
) -> EvalModel:
    """Make a model whose queries are the sum, over the teacher's documents."""
    first, second = (model for model, _ in parts)
    return dataclasses.replace(
        first,
        name=f"{first.name}-sum",
        departures={"with": second.revision[:12], "weight": str(weight)},
        embedder=SumEmbedder(parts),
        documents=teacher,
    )


def name_sum(whole: str, weight: float) -> str:
    """Name a sum: `adapted + 0.5 static`."""
    return f"{whole} + {weight:g} static"


def score_all(models: dict[str, EvalModel], folder: Path, out: Path) -> dict[str, TaskScore]:
    """Score all models on the run's task; documents' vectors are those of the run."""
    recipe = distill.open_run(folder).recipe
    own = [load_task(HELD_OUT, folder)] if HELD_OUT in recipe.evaluate.tasks else []
    (task,) = own or load_named_tasks(recipe.evaluate, recipe.own_corpus, recipe.seed)
    share_vectors(folder, out)
    return {name: score_tasks(model, [task], out)[0] for name, model in models.items()}


def share_vectors(folder: Path, out: Path) -> None:
    """Let the evaluation read the vectors that the run's evaluation has stored."""
    out.mkdir(parents=True, exist_ok=True)
    if not (out / "vectors").exists():
        (out / "vectors").symlink_to((folder / "evaluated/vectors").resolve())


if __name__ == "__main__":
    main()
