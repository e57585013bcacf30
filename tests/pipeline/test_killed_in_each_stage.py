"""kill -9 in each stage that the plainest recipe does not have (`test_resume` kills in all of its
own): before a commit and after one, near the stage's beginning and later. The same command
continues, and everything ends byte for byte the same."""

import gc
import json
import os
import random
import signal
from collections import Counter
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

import pytest
from helpers.fresh_process import CONTEXT
from helpers.overlap_llm import OverlapLLM
from pipeline.test_judge import SETTINGS as judge_settings
from pipeline.test_known_item import write_corpus

from distill.llm import Completion

pytestmark = pytest.mark.slow

COMMITS = {2: "before", 3: "after", 8: "before"}
"""A stage's commit, counted in the life of a process, at which it is killed once; a stage begins
with its folder and ends with its manifest."""
JUDGE = {
    **judge_settings,
    "generate.methods": ["sentences", "keywords"],
    "retriever.sources": ["dense", "bm25"],
    "student.layers": None,
}
ROUNDS = {
    "generate.methods": ["sentences", "keywords"],
    "generate.free": {"queries": 60, "per_passage": 4},
    "corpus.max_tokens": 256,
    "corpus.held_out": 0.4,
    "evaluate.tasks": ["known-item"],
    "evaluate.known_item.queries": 40,
    "relabel.rankers": ["retriever", "bm25"],
    "relabel.weights": "auto",
    "relabel.check": {"queries": 60, "top_k": 4},
    "relabel.rounds": 2,
}
ALL_QUERIES = {
    "generate.methods": ["fret", "log", "labelled", "brainstorm"],
    "generate.brainstorm": {"examples": 12, "calls": 2, "tasks_per_call": 3, "shard_size": 3},
    "corpus.max_tokens": 256,
    "corpus.held_out": 0.4,
    "evaluate.tasks": ["judged"],
    "evaluate.judged": {"queries": 20, "depth": 3},
    "relabel.rankers": ["bm25", "ql", "listwise", "retriever"],
    "relabel.cascade": {"by": ["bm25"], "keep": 3},
    "train.objective": {"infonce": 1.0},
}
RECIPES = {"judge": JUDGE, "rounds": ROUNDS, "all queries": ALL_QUERIES}
STAGES = {
    "judge": "parsed-free round-judge/queries round-judge/candidates round-judge/judgements-bm25 "
    "round-judge/labels judge judgements-cross_encoder judge-evaluation",
    "rounds": "passages-held-out known-item round-check/passages round-check/queries "
    "round-check/candidates round-check/labels ranker-check round-1/candidates "
    "round-1/judgements-bm25 round-1/labels round-1/examples round-1/base round-1/student",
    "all queries": "generations-held-out parsed-held-out queries-held-out parsed-log "
    "brainstorm-tasks brainstorm-generations tasks examples-brainstorm examples-labelled "
    "judgements-bm25 candidates-survivors judgements-listwise judged",
}
"""Those of each recipe that the plainest one does not have."""


class WritingLLM(OverlapLLM):
    """Also writes tasks and examples of them, in the form that is asked for."""

    supports_schema = True

    def generate(self, prompts, seeds, sampling):
        if sampling.json_schema is None:
            return super().generate(prompts, seeds, sampling)
        asked = zip(prompts, seeds, strict=True)
        return [
            Completion(_write_json(*one, json.loads(sampling.json_schema)), True) for one in asked
        ]


def _write_json(prompt: str, seed: int, schema: dict[str, Any]) -> str:
    draw = random.Random(f"{prompt}{seed}")
    words = ["heart", "copper", "glacier", "bees", "yeast", "tides", "bridges", "owl", "salt"]
    if "tasks" in schema["properties"]:
        count = schema["properties"]["tasks"]["maxItems"]
        tasks = [f"Find {' '.join(draw.sample(words, 4))}." for _ in range(count)]
        return json.dumps({"tasks": tasks})
    return json.dumps({key: " ".join(draw.sample(words, 4)) for key in schema["properties"]})


def _live(
    recipe_file: Path,
    settings: Mapping[str, Any],
    folder: Path,
    stages: Container[str],
    deaths: Path,
) -> None:
    """Run the job in this process, which dies at the first of these stages' commits at which none
    has died yet."""
    import torch

    from distill.api.objects import Models, put_models
    from distill.pipeline.job import Job
    from distill.recipe import load_recipe, override
    from distill.store.run import Run

    gc.freeze()  # no collection goes through the libraries' objects, and copies their memory
    torch.set_num_threads(1)
    replace = os.replace
    commits = Counter[str]()

    def deadly(source: str | Path, target: str | Path) -> None:
        stage = name_stage(Path(target), folder)
        commits[stage] += 1
        when = COMMITS.get(commits[stage]) if stage in stages else None
        mark = f"{stage} {commits[stage]}"
        dies = when is not None and mark not in deaths.read_text().splitlines()
        if dies:
            with deaths.open("a") as file:
                file.write(f"{mark}\n")
        if dies and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)
        if dies:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = deadly
    recipe = override(load_recipe(recipe_file), settings)
    with Run(folder) as run:
        Job(run, put_models(recipe, Models(llm=WritingLLM()))).evaluate()


def name_stage(path: Path, folder: Path) -> str:
    """The stage that a file or folder belongs to, `round-1/candidates` inside of a round."""
    parts = path.relative_to(folder).parts
    inner = parts[0].startswith("round-") and len(parts) > 1
    return "/".join(part.strip(".").removesuffix(".new") for part in parts[: 2 if inner else 1])


def run(*arguments: Any) -> int:
    process = CONTEXT.Process(target=_live, args=arguments)
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def results(folder: Path) -> dict[str, bytes]:
    kinds = ("*.parquet", "vectors.npy", "*.safetensors")
    paths = [path for kind in kinds for path in folder.rglob(kind) if not path.is_symlink()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(paths)}


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> dict[str, Any]:
    """Documents that may be held out, a log and a labelled set."""
    folder = tmp_path_factory.mktemp("sources")
    asked = [f"what is the {number}th thing" for number in range(20)]
    (folder / "asked.txt").write_text("\n".join(asked))
    labels = [f"Message {n} of {label}.\t{label}" for n in range(6) for label in ("card", "loss")]
    (folder / "labelled.tsv").write_text("\n".join(["text\tlabel", *labels]) + "\n")
    labelled = {"path": str(folder / "labelled.tsv"), "task": "Find the same.", "examples": 10}
    return {
        "corpus.path": str(write_corpus(folder / "docs.jsonl", 150)),
        "generate.log.path": str(folder / "asked.txt"),
        "generate.labelled": [labelled],
    }


@pytest.mark.parametrize("name", RECIPES)
def test_killed_in_each_stage_it_ends_with_the_same_bytes(name, recipe_file, sources, tmp_path):
    # The judge's few passages are the recipe's own: of more its self-test would refuse it.
    settings = RECIPES[name] if name == "judge" else {**sources, **RECIPES[name]}
    whole, killed, deaths = tmp_path / "whole/run", tmp_path / "killed/run", tmp_path / "deaths"
    stages = STAGES[name].split()
    deaths.touch()
    assert run(recipe_file, settings, whole, (), deaths) == 0
    while (ended := run(recipe_file, settings, killed, stages, deaths)) == -signal.SIGKILL:
        assert len(deaths.read_text().splitlines()) < 200
    assert ended == 0
    by_stage = Counter(line.split()[0] for line in deaths.read_text().splitlines())
    assert set(stages) <= by_stage.keys()
    assert sum(by_stage[stage] for stage in stages) > 2 * len(stages)
    undisturbed = results(whole)
    assert len(undisturbed) > 20
    assert results(killed) == undisturbed
