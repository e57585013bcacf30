"""Checks whether a served LLM gives the log-probabilities of a prompt, which few servers do, before
the queries are paid for that they are to judge."""

from pathlib import Path
from tempfile import TemporaryDirectory

from distill.errors import UserError
from distill.models.sources.in_memory import is_object
from distill.recipe import LanguageModel, Recipe
from distill.recipe.needs import list_llms

_BY_LIKELIHOOD = {"ql", "contrast"}
"""Values of `generate.best_by` that compare likelihoods."""


def check_likelihoods(recipe: Recipe) -> list[str]:
    """Ask each served LLM whose likelihoods the recipe uses for those of one sentence, which costs
    a few tokens.

    Raises:
        UserError: if it gives none, naming the keys that need them.
    """
    asking = _list_asking(recipe)
    for key, llm in list_llms(recipe).items():
        keys = asking.get(key, [])
        if keys and llm.engine == "http" and not is_object(llm.model) and not _has_likelihoods(llm):
            raise UserError(
                f"{key}.base_url {llm.base_url}",
                f"gives no log-probabilities of a prompt's tokens for model {llm.model!r}, which "
                f"{' and '.join(keys)} needs",
                "serve it with vLLM or SGLang; or take relabel.rankers: [rc, retriever] without "
                "relabel.fused, and generate.best_by: round_trip",
            )
    return []


def _list_asking(recipe: Recipe) -> dict[str, list[str]]:
    """List the keys of the recipe that need likelihoods, by the key of the LLM that gives them."""
    judging = "llm" if recipe.judging_llm == recipe.llm else "relabel.llm"
    asking: dict[str, list[str]] = {"llm": [], "relabel.llm": []}
    generate = recipe.generate
    if generate.writes_queries and generate.best_of > 1 and generate.best_by in _BY_LIKELIHOOD:
        asking["llm"].append(f"generate.best_by {generate.best_by}")
    if "ql" in recipe.relabel.rankers:
        asking[judging].append("relabel.rankers ql")
    if recipe.trains_judge and "ql" in recipe.judge_teachers:
        asking[judging].append("judge.rankers ql")
    return asking


def _has_likelihoods(llm: LanguageModel) -> bool:
    from distill.llm.http.engine import HTTPEngine  # imports httpx

    with TemporaryDirectory() as folder:
        engine = HTTPEngine(llm, Path(folder) / "requests.sqlite")
        try:
            return engine.can_score
        finally:
            engine.close()
