"""The whole path from a corpus to an evaluated student. No stage calls another: this is the one
place that knows their order. Each stage reads the tables of earlier ones and writes its own."""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from distill.corpus.stage import make_held_out, make_passages
from distill.generate.brainstorm import make_brainstorm
from distill.generate.filters import make_queries
from distill.generate.fret import make_generations
from distill.generate.labelled import make_labelled
from distill.generate.parsed import make_parsed
from distill.llm.load import load_llm
from distill.llm.protocol import LLM
from distill.recipe import Recipe
from distill.relabel.candidates import make_candidates
from distill.relabel.choose import make_examples
from distill.relabel.fuse import make_labels
from distill.relabel.judge import JUDGES, make_judgements
from distill.run import Run, Stage
from distill.saved import save_recipe


class CorpusStages(NamedTuple):
    """Both None where a recipe has no corpus."""

    passages: Stage | None
    held_out: Stage | None


class Written(NamedTuple):
    """What `generate` made: queries of passages to be relabelled, and whole examples."""

    corpus: CorpusStages
    queries: Stage | None
    examples: list[Stage]


class Job:
    """One recipe in one open run. Each method does what it needs of the stages before it, which
    costs nothing where they are complete."""

    def __init__(self, run: Run, recipe: Recipe) -> None:
        self.run = run
        self.recipe = recipe
        requests = run.folder / "requests.sqlite"
        self.llm: Callable[[], LLM] = cache(lambda: load_llm(recipe.llm, requests))
        if not (run.folder / "recipe.yaml").exists():
            save_recipe(run.folder, recipe)

    def corpus(self) -> CorpusStages:
        if not self.recipe.has_corpus:
            return CorpusStages(None, None)
        return CorpusStages(
            make_passages(self.run, self.recipe), make_held_out(self.run, self.recipe)
        )

    def generate(self) -> Written:
        run, recipe, corpus = self.run, self.recipe, self.corpus()
        queries, examples = None, []
        if corpus.passages is not None and recipe.generate.from_passages:
            generations = make_generations(run, recipe, corpus.passages, self.llm)
            parsed = make_parsed(run, recipe, generations)
            queries = make_queries(run, recipe, corpus.passages, parsed, self.llm, corpus.held_out)
        if "brainstorm" in recipe.generate.methods:
            examples.append(make_brainstorm(run, recipe, self.llm, corpus.held_out))
        if "labelled" in recipe.generate.methods:
            examples.append(make_labelled(run, recipe, corpus.held_out))
        return Written(corpus, queries, examples)

    def relabel(self) -> tuple[CorpusStages, list[Stage]]:
        """The corpus and all examples."""
        corpus, queries, examples = self.generate()
        if corpus.passages is None or queries is None:
            return corpus, examples
        run, recipe = self.run, self.recipe
        candidates = make_candidates(run, recipe, corpus.passages, queries)
        judgements: dict[str, Stage] = {
            ranker: make_judgements(
                run, recipe, ranker, corpus.passages, queries, candidates, self.llm
            )
            for ranker in JUDGES
            if ranker in recipe.relabel.rankers
        }
        labels = make_labels(run, recipe, candidates, judgements)
        chosen = make_examples(run, recipe, corpus.passages, queries, candidates, labels)
        return corpus, [chosen, *examples]

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
