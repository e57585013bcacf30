"""Find out what a recipe needs to be run."""

from typing import Literal

from distill.errors import UserError
from distill.recipe.load import Recipe
from distill.recipe.sections.llm import LanguageModel
from distill.recipe.sections.objective import SCORED_TERMS, SoftScoreChoice, list_score_names
from distill.recipe.sections.train import Train

OWN: Literal["own"] = "own"
"""The scores that stand in the examples themselves, as STS pairs have them."""
TEACHER = "teacher"
"""Those that a table of the teacher's holds; all others are read from the labels."""


def needs_llm(recipe: Recipe) -> bool:
    """Return whether an LLM writes anything, or judges what was written or taken from passages."""
    return bool(list_llms(recipe))


def list_llms(recipe: Recipe) -> dict[str, LanguageModel]:
    """List the LLMs that a run asks before evaluation, by the keys that name them: `llm`, which
    writes, and which judges where `relabel.llm` names no other."""
    generate = recipe.generate
    writes = generate.writes_queries or "brainstorm" in generate.methods
    rankers = {*recipe.relabel.rankers, *(recipe.judge.rankers if recipe.trains_judge else [])}
    judges = generate.from_passages and bool({"ql", "rc", "graded", "listwise"} & rankers)
    same = recipe.judging_llm == recipe.llm
    named = {}
    if writes or (judges and same):
        named["llm"] = recipe.llm
    if judges and not same:
        named["relabel.llm"] = recipe.judging_llm
    return named


def score_source(train: Train) -> SoftScoreChoice | Literal["own"] | None:
    """Return whose scores an objective is trained on; None where it is on none.

    Raises:
        UserError: if two of its terms ask for different ones; CoSENT asks for the examples' own.
    """
    named: dict[str, SoftScoreChoice] = {
        term: getattr(train, term).scores for term in SCORED_TERMS if getattr(train.objective, term)
    }
    chosen = [*named.values()]
    if any(one != chosen[0] for one in chosen):
        raise UserError(
            ", ".join(f"train.{term}.scores" for term in named),
            f"name different scores ({', '.join(map(str, chosen))})",
            "name the same in each, or train on them in two of train.stages",
        )
    if train.objective.cosent and named:
        raise UserError(
            "train.objective.cosent",
            f"learns the examples' own scores, and {', '.join(named)} those of somebody else",
            "train on them in two of train.stages",
        )
    return OWN if train.objective.cosent else next(iter(chosen), None)


def check_score_sources(recipe: Recipe) -> None:
    """Refuse soft labels that training cannot have whatever the stages before it make, before
    anything is spent on those.

    Raises:
        UserError: naming the term and what it lacks.
    """
    stages = recipe.train.list_stages()
    several = len(stages) > 1
    for name, train in stages.items():
        source = score_source(train)
        if source is None or source == OWN:
            continue
        where = f"train: scores {source!r}" + (f" of the stage {name}" if several else "")
        names = list_score_names(source)
        if TEACHER in names and recipe.teacher.model is None:
            raise UserError(
                where, "are a teacher's, and the recipe names none", "set teacher.model"
            )
        if names != [TEACHER] and not recipe.generate.from_passages:
            raise UserError(
                where,
                "are read from labels, and there are no queries over passages to relabel",
                "learn from a teacher's scores, or add a method that asks about passages to "
                "generate.methods",
            )
