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
_PATIENCE = 30.0
"""Seconds that a server may take for a few tokens."""


def check_likelihoods(recipe: Recipe) -> list[str]:
    """Ask each served LLM whose likelihoods the recipe uses for those of one sentence, which costs
    a few tokens.

    Returns:
        Notices of servers that did not answer, such as busy ones, for which a run waits.

    Raises:
        UserError: if one gives none, naming the keys that need them.
    """
    asking, notices = _list_asking(recipe), []
    for key, llm in list_llms(recipe).items():
        keys = asking.get(key, [])
        if not keys or llm.engine != "http" or is_object(llm.model):
            continue
        try:
            gives = _has_likelihoods(llm)
        except UserError as fault:
            needed = f"{' and '.join(keys)}: whether the server gives what this needs is not known"
            notices.append(f"{needed} ({fault.where}: {fault.what})")
            continue
        if not gives:
            raise UserError(
                f"{key}.base_url {llm.base_url}",
                f"gives no log-probabilities of a prompt's tokens for model {llm.model!r}, which "
                f"{' and '.join(keys)} needs",
                "serve it with vLLM or SGLang; or take relabel.rankers: [rc, retriever] without "
                "relabel.fused, and generate.best_by: round_trip",
            )
    return notices


def _list_asking(recipe: Recipe) -> dict[str, list[str]]:
    """List the keys of the recipe that need likelihoods, by the key of the LLM that gives them."""
    judging = "llm" if recipe.judging_llm == recipe.llm else "relabel.llm"
    asking: dict[str, list[str]] = {"llm": [], "relabel.llm": []}
    generate = recipe.generate
    if generate.writes_queries and generate.best_of > 1 and generate.best_by in _BY_LIKELIHOOD:
        asking["llm"].append(f"generate.best_by {generate.best_by}")
    if generate.from_passages and "ql" in recipe.relabel.rankers:
        asking[judging].append("relabel.rankers ql")
    if recipe.trains_judge and "ql" in recipe.judge_teachers:
        asking[judging].append("judge.rankers ql")
    return asking


def _has_likelihoods(llm: LanguageModel) -> bool:
    from distill.llm.http.engine import HTTPEngine  # imports httpx

    asked = llm.model_copy(update={"retries": 1, "timeout": min(llm.timeout, _PATIENCE)})
    with TemporaryDirectory() as folder:
        engine = HTTPEngine(asked, Path(folder) / "requests.sqlite")
        try:
            return engine.can_score
        finally:
            engine.close()
