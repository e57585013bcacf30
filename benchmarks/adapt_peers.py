"""An adapted query encoder against what a user would do instead with the same free queries in the
same minutes: nDCG@10 of both, with the paired interval. One peer trains the whole model with
sentence-transformers' MultipleNegativesRankingLoss on each query and its own document (its
documents are then embedded anew); the other trains the query encoder alone to give each query the
teacher's vector, by MSE, as LEAF does (it is meant for a student of fewer layers: a whole one has
these vectors already). For a static query encoder the peer is model2vec's distillation of the same
teacher, which knows neither corpus nor queries, and embeds both sides; it needs the packages
model2vec and skeletoken. The other one is pyNIFE's query encoder, which is trained on the same
queries and the corpus to give each text the teacher's vector, in an environment of its own
(nife.py says which packages it needs). Prints one JSON line.

    DISTILL_DATA=... python benchmarks/worth.py cacm
    python benchmarks/adapt_peers.py artifacts/worth/cacm-alone-13 --peer contrast
    python benchmarks/adapt_peers.py artifacts/worth/cacm-three-layers-13 --peer alignment
    python benchmarks/adapt_peers.py artifacts/worth/cacm-static-13 --peer model2vec
    NIFE_PYTHON=nife/bin/python python benchmarks/adapt_peers.py artifacts/worth/cacm-static-13 \
      --peer pynife
"""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import (
    MSELoss,
    MultipleNegativesRankingLoss,
)
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from transformers import PrinterCallback, TrainerCallback

from distill.api.run_folder import open_run
from distill.evaluate.models.eval_model import EvalModel, load_eval_model
from distill.evaluate.models.run_models import RunModelSettings, load_run_models
from distill.evaluate.models.variants import make_asymmetric
from distill.evaluate.passage_search import make_encoder, open_to_read
from distill.evaluate.score import TaskScore, score_tasks
from distill.evaluate.stage import HELD_OUT, load_named_tasks
from distill.evaluate.statistics.significance import compare_scores
from distill.files.atomic import read_json, write_json
from distill.models.reference import resolve
from distill.recipe import Recipe
from distill.retrieve.corpus_index import embed_corpus
from distill.store.passages import PassageIds, PassageReader
from distill.store.stage import open_stage
from distill.store.tables import PASSAGES, QUERIES, join_passage, read_rows
from distill.tasks import load_task

RATES = {"contrast": 2e-5, "alignment": 1e-4}


class TimeLimit(TrainerCallback):
    """Ends a training after so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_training_stop = time.monotonic() > self._end


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--peer",
    type=click.Choice([*RATES, "model2vec", "pynife"]),
    default="contrast",
    show_default=True,
)
@click.option("--seconds", type=float, help="Of the peer's training; as many as ours took.")
@click.option("--rate", type=float, help="The peer's learning rate.")
@click.option("--epochs", default=5, show_default=True, help="Of pyNIFE, if the time is enough.")
def main(folder: Path, peer: str, seconds: float | None, rate: float | None, epochs: int) -> None:
    run = open_run(folder)
    recipe = run.recipe
    ours_took = read_json(folder / "student/.stage/manifest.json")["seconds"]
    models = load_run_models(
        RunModelSettings.select(recipe), {"base": folder / "base", "student": run.student}
    )
    out = folder.with_name(f"{folder.name}-{peer}")
    teacher, steps = models["teacher"], 0
    if peer == "model2vec":
        trained, seconds = distill_static(recipe, out), 0.0
    elif peer == "pynife":
        limit = seconds or ours_took
        out = out if epochs == 5 else out.with_name(f"{out.name}-{epochs}")
        trained = train_nife(teacher, folder, recipe, epochs, limit, out)
        figures = read_json(out / "steps.json")
        steps, seconds = sum(figures["steps"].values()), sum(figures["seconds"].values())
    else:
        seconds = seconds or ours_took
        trained, steps = train(models["base"], teacher, folder, recipe, peer, rate, seconds, out)
    scores = score_all(models | {"peer": trained}, recipe, folder, out)
    line = describe(folder, peer, scores, steps, seconds)
    write_json(out / "figures.json", line)
    print(json.dumps(line))


def train(
    base: EvalModel,
    teacher: EvalModel,
    folder: Path,
    recipe: Recipe,
    peer: str,
    rate: float | None,
    seconds: float,
    out: Path,
) -> tuple[EvalModel, int]:
    """The peer's model, from the untrained student, and its steps; a trained one is read again."""
    place = out / "model"
    if not (place / "modules.json").exists():
        model = SentenceTransformer(str(folder / "base"), device="cpu")
        rows = [*read_pairs(folder)]
        if peer == "contrast":
            data = Dataset.from_list([{"anchor": query, "positive": text} for query, text in rows])
            loss: Any = MultipleNegativesRankingLoss(model)
        else:
            queries = [query for query, _ in rows]
            vectors = teacher.encode(queries, "query").tolist()
            data = Dataset.from_dict({"sentence": queries, "label": vectors})
            loss = MSELoss(model)
        settings = SentenceTransformerTrainingArguments(
            output_dir=str(out / "training"),
            num_train_epochs=100,
            per_device_train_batch_size=recipe.train.batch_size,
            learning_rate=rate or RATES[peer],
            lr_scheduler_type="constant_with_warmup",
            warmup_steps=5,
            seed=recipe.seed,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
        )
        limit = TimeLimit(seconds)
        trainer = SentenceTransformerTrainer(
            model=model, args=settings, train_dataset=data, loss=loss, callbacks=[limit]
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        model.save(str(place), create_model_card=False)
        write_json(out / "steps.json", {"steps": trainer.state.global_step})
    trained = load_eval_model(place)
    if peer == "alignment":
        trained = make_asymmetric(trained, teacher)
    return trained, read_json(out / "steps.json")["steps"]


def train_nife(
    teacher: EvalModel, folder: Path, recipe: Recipe, epochs: int, seconds: float, out: Path
) -> EvalModel:
    """pyNIFE's query encoder over the teacher's documents; a trained one is read again."""
    place = out / "model"
    if not (place / "modules.json").exists():
        python = os.environ.get("NIFE_PYTHON")
        if python is None:
            raise click.UsageError("NIFE_PYTHON names no python with pynife: see nife.py")
        out.mkdir(exist_ok=True)
        queries = [row["query"] for row in read_rows(QUERIES, folder / "queries")]
        texts = {
            "queries": queries,
            "documents": [join_passage(row) for row in read_rows(PASSAGES, folder / "passages")],
        }
        with open_to_read(folder) as run:
            store = embed_corpus(run, make_encoder(teacher), open_stage(folder / "passages"))
            np.save(out / "documents.npy", np.asarray(store.vectors, np.float32))
        np.save(out / "queries.npy", teacher.encode(queries, "query"))
        for side, of in texts.items():
            write_json(out / f"{side}.json", of)
        settings = {"teacher": str(teacher.folder), "max_tokens": recipe.teacher.max_tokens}
        settings |= {"epochs": epochs, "seconds": seconds, "seed": recipe.seed}
        write_json(out / "settings.json", settings)
        # Its environment is its own: no path of this one's.
        others = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        words = [python, str(Path(__file__).with_name("nife.py")), str(out)]
        done = subprocess.run(words, env=others, stdout=subprocess.PIPE, check=True)
        write_json(out / "steps.json", json.loads(done.stdout.splitlines()[-1]))
    return make_asymmetric(load_eval_model(place), teacher)


def distill_static(recipe: Recipe, out: Path) -> EvalModel:
    """model2vec's static model of the teacher, by its own defaults."""
    place = out / "model"
    if not (place / "modules.json").exists():
        teacher = resolve(str(recipe.teacher.model))
        static = StaticEmbedding.from_distillation(str(teacher), device="cpu")
        SentenceTransformer(modules=[static]).save(str(place), create_model_card=False)
    return load_eval_model(place)


def read_pairs(folder: Path) -> Iterator[tuple[str, str]]:
    """Each query that ours was trained on, and the text that it was made from."""
    reader = PassageReader(folder / "passages")
    row_of = {id_: row for row, id_ in enumerate(PassageIds(reader))}
    for row in read_rows(QUERIES, folder / "queries"):
        (passage,) = reader.read_rows([row_of[row["seed_id"]]])
        yield row["query"], join_passage(passage)


def score_all(
    models: dict[str, EvalModel], recipe: Recipe, folder: Path, out: Path
) -> dict[str, TaskScore]:
    """By role; what the run has evaluated is read, and the teacher's vectors of the documents."""
    if not (out / "vectors").exists():
        (out / "vectors").symlink_to((folder / "evaluated/vectors").resolve())
    own = [load_task(HELD_OUT, folder)] if HELD_OUT in recipe.evaluate.tasks else []
    (task,) = own or load_named_tasks(recipe.evaluate, recipe.own_corpus, recipe.seed)
    places = {role: out if role == "peer" else folder / "evaluated" for role in models}
    return {role: score_tasks(model, [task], places[role])[0] for role, model in models.items()}


def describe(
    folder: Path, peer: str, scores: dict[str, TaskScore], steps: int, seconds: float
) -> dict[str, Any]:
    ours, theirs = scores["student"], scores["peer"]
    return {
        "name": f"{folder.name} against {peer}",
        "unit": "nDCG@10",
        "ours": round(ours.score, 4),
        "peer": round(theirs.score, 4),
        "peer_is": peer,
        "ratio": round(ours.score / theirs.score, 3),
        "teacher": round(scores["teacher"].score, 4),
        "base": round(scores["base"].score, 4),
        "ours_minus_peer": compare_scores([ours], [theirs])["overall"],
        "peer_minus_base": compare_scores([theirs], [scores["base"]])["overall"],
        "peer_steps": steps,
        "peer_seconds": seconds,
    }


if __name__ == "__main__":
    main()
