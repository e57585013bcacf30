"""The main job, top to bottom: each stage reads the tables of earlier ones and writes its own."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from distill.corpus.stage import make_held_out, make_passages
from distill.generate.fret import make_generations, make_queries
from distill.llm.load import load_llm
from distill.llm.protocol import LLM
from distill.prompts import find_prompt
from distill.recipe import Recipe, dump_recipe
from distill.relabel.candidates import make_candidates
from distill.relabel.choose import make_examples
from distill.relabel.fuse import make_labels
from distill.relabel.judge import JUDGES, make_judgements
from distill.run import Run, Stage
from distill.tables import commit_bytes


class CorpusStages(NamedTuple):
    passages: Stage
    held_out: Stage | None


class Queries(NamedTuple):
    corpus: CorpusStages
    queries: Stage


class Job:
    """One recipe in one open run. Each method does what it needs of the stages before it, which
    costs nothing where they are complete."""

    def __init__(self, run: Run, recipe: Recipe) -> None:
        self.run = run
        self.recipe = recipe
        self.llm: Callable[[], LLM] = cache(lambda: load_llm(recipe.llm))
        if not (run.folder / "recipe.yaml").exists():
            save_recipe(run.folder, recipe)

    def corpus(self) -> CorpusStages:
        return CorpusStages(
            make_passages(self.run, self.recipe), make_held_out(self.run, self.recipe)
        )

    def generate(self) -> Queries:
        corpus = self.corpus()
        generations = make_generations(self.run, self.recipe, corpus.passages, self.llm)
        queries = make_queries(self.run, self.recipe, corpus.passages, generations)
        return Queries(corpus, queries)

    def relabel(self) -> tuple[CorpusStages, Stage]:
        """The corpus and the examples."""
        (passages, held_out), queries = self.generate()
        run, recipe = self.run, self.recipe
        candidates = make_candidates(run, recipe, passages, queries)
        judgements: dict[str, Stage] = {
            ranker: make_judgements(run, recipe, ranker, passages, queries, candidates, self.llm)
            for ranker in JUDGES
            if ranker in recipe.relabel.rankers
        }
        labels = make_labels(run, recipe, candidates, judgements)
        examples = make_examples(run, recipe, passages, queries, candidates, labels)
        return CorpusStages(passages, held_out), examples

    def train_student(self) -> tuple[CorpusStages, Stage, Stage]:
        """The corpus, the untrained base and the student."""
        from distill.student.build import build_base
        from distill.student.train import train_student

        corpus, examples = self.relabel()
        base = build_base(self.run, self.recipe)
        student = train_student(self.run, self.recipe, corpus.passages, examples, base)
        return corpus, base, student

    def evaluate(self) -> Stage:
        from distill.evaluate.stage import evaluate_run

        corpus, base, student = self.train_student()
        return evaluate_run(self.run, self.recipe, base, student, corpus.held_out)


def save_recipe(folder: Path, recipe: Recipe) -> None:
    """The resolved recipe and its prompts, so that a run folder can be continued by itself."""
    names = (recipe.generate.prompt, recipe.relabel.prompt_ql, recipe.relabel.prompt_rc)
    for name in names:
        _keep(folder / "prompts" / Path(name).name, find_prompt(name, recipe.folder).read_bytes())
    kept = recipe.model_copy(deep=True)
    kept.generate.prompt, kept.relabel.prompt_ql, kept.relabel.prompt_rc = (
        f"prompts/{Path(name).name}" for name in names
    )
    _keep(folder / "recipe.yaml", dump_recipe(kept).encode())


def _keep(path: Path, data: bytes) -> None:
    if not path.exists() or path.read_bytes() != data:
        path.parent.mkdir(parents=True, exist_ok=True)
        commit_bytes(path, data)
