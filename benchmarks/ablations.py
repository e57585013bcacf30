"""What each choice of recipes/adapt.yaml is worth: the student of each variation that `worth.py`
has measured minus the student of one of them, of the same corpus and seed, query by query. Prints
one JSON line for each.

    DISTILL_DATA=... python benchmarks/worth.py cacm --alone
    DISTILL_DATA=... python benchmarks/worth.py cacm --alone --name no-titles \
      --set 'generate.methods=[sentences, keywords]'
    python benchmarks/ablations.py --against alone
"""

import json
from pathlib import Path
from typing import Any

import click
import numpy as np

from distill.evaluate.run_summary import read_items
from distill.evaluate.statistics.resampling import resample_items
from distill.files.atomic import read_json


@click.command()
@click.option("--against", default="alone", show_default=True, help="The variation of the others.")
@click.option("--root", default=Path("artifacts/worth"), type=click.Path(path_type=Path))
def main(against: str, root: Path) -> None:
    lines = [read_json(path) for path in sorted(root.glob("*.json"))]
    for line in lines:
        other = root / f"{line['corpus']}-{against}-{line['seed']}.json"
        if line["variant"] == against or not other.exists():
            continue
        print(json.dumps(describe(line, read_json(other), root)))


def describe(line: dict[str, Any], other: dict[str, Any], root: Path) -> dict[str, Any]:
    """A variation's figures beside another's, with the interval of their difference."""
    ours, theirs = (read_students(root / of["name"]) for of in (line, other))
    differences = np.array([ours[query] - theirs[query] for query in sorted(theirs)])
    drawn = resample_items(differences, np.random.default_rng(0)).bootstrap
    low, high = np.percentile(drawn, [2.5, 97.5])
    return {
        "name": line["name"],
        "set": line["set"],
        "unit": "nDCG@10",
        "ours": line["ours"],
        "peer": other["ours"],
        "peer_is": other["name"],
        "ratio": round(line["ours"] / other["ours"], 4),
        "difference": round(float(differences.mean()), 4),
        "low": round(float(low), 4),
        "high": round(float(high), 4),
        "queries": len(differences),
        "teacher": line["peer"],
        "steps": line["steps"],
        "training_seconds": round(line["training_seconds"]),
    }


def read_students(folder: Path) -> dict[str, float]:
    """The student's score on each query of a run's only task."""
    items = read_items(folder)
    if items is None or len(items) != 1:
        raise click.UsageError(f"{folder} has no score of single queries: evaluate it again")
    (of_task,) = items.values()
    return {query: values["student"] for query, values in of_task.items()}


if __name__ == "__main__":
    main()
