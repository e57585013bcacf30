"""Find the devices that the recipe has a command compute on, and check that this machine has
them."""

from collections.abc import Iterator
from typing import Literal

from distill.errors import UserError
from distill.models.sources.in_memory import is_object
from distill.recipe import LanguageModel, Recipe
from distill.recipe.needs import list_llms

Step = Literal[
    "corpus", "generate", "relabel", "train_judge", "score_teacher", "train_student", "evaluate"
]
"""How far along the run a command goes: each does what it needs of the steps before it."""
_TRAINING = ("judge.device", "train.device")


def check_devices(recipe: Recipe, last: Step = "evaluate") -> None:
    """Check, before an LLM is paid for, that this machine has the devices that a command uses. GPUs
    of the stages that a cluster's workers do are theirs.

    Args:
        last: the last step that the command does.

    Raises:
        UserError: naming the key, and the devices that are there.
    """
    named = [(key, device) for key, device in _iterate_devices(recipe, last) if device is not None]
    if not named:
        return
    from distill.runtime.devices import check_device  # imports torch

    for key, device in named:
        check_device(device, key, _find_remedy(recipe, key))
        if key in _TRAINING and device.startswith("cuda:"):
            raise UserError(
                f"{key} {device}",
                "training takes the first of the GPUs that it sees",
                f"set {key}: cuda, and CUDA_VISIBLE_DEVICES={device.removeprefix('cuda:')} in the "
                "environment",
            )


def _find_remedy(recipe: Recipe, key: str) -> str:
    """Find what else helps where a device is not there that a cluster may have."""
    if recipe.execution.mode == "local":
        return ""
    if key == "train.device":
        return ", or set train.launcher: ray, which trains on the cluster"
    return " (workers then take GPUs where the cluster has some)"


def _iterate_devices(recipe: Recipe, last: Step) -> Iterator[tuple[str, str | None]]:
    """Yield key and value of each device that is used up to this step."""
    generate, relabel, teacher = recipe.generate, recipe.relabel, recipe.teacher
    relabels = last not in ("corpus", "generate") and generate.from_passages
    trains = last in ("train_student", "evaluate") or (relabels and relabel.rounds > 1)
    if last == "corpus":
        return
    judge, judges_pool = recipe.evaluate.pool_llm, "judged" in recipe.evaluate.tasks
    llms = list_llms(recipe)
    writes = generate.writes_queries or "brainstorm" in generate.methods
    asks_llm = writes or (relabels and "llm" in llms) or (judges_pool and judge is None)
    is_llm_here = _needs_llm_here(recipe) or not _is_left_to_workers(recipe, recipe.llm.device)
    if asks_llm and _is_llm_local(recipe.llm) and is_llm_here:
        yield "llm.device", recipe.llm.device
    judging = llms.get("relabel.llm")
    judges_here = judging is not None and not _is_left_to_workers(recipe, judging.device)
    if relabels and judging is not None and judges_here and _is_llm_local(judging):
        yield "relabel.llm.device", judging.device
    if judge is not None and _is_llm_local(judge) and not _is_left_to_workers(recipe, judge.device):
        yield "evaluate.judged.llm.device", judge.device
    embeds = relabels or _needs_retriever(recipe)
    opens_retriever = embeds and _is_local(recipe.retriever.model, recipe.retriever.base_url)
    opens_ranker = relabels and relabel.cross_encoder is not None
    reranks = _needs_judge_here(recipe, last)
    is_here = reranks or not _is_left_to_workers(recipe, recipe.retriever.device)
    if (opens_retriever or opens_ranker or reranks) and is_here:
        yield "retriever.device", recipe.retriever.device
    if last == "train_judge" or (relabels and recipe.trains_judge):
        yield "judge.device", recipe.judge.device
    opens_teacher = trains or last == "score_teacher"
    # An evaluation has this process embed with the teacher; before it workers do.
    is_here = last == "evaluate" or not _is_left_to_workers(recipe, teacher.device)
    if opens_teacher and _is_local(teacher.model, teacher.base_url) and is_here:
        yield "teacher.device", teacher.device
    if trains and recipe.train.launcher == "none":
        yield "train.device", recipe.train.device


def _is_llm_local(llm: LanguageModel) -> bool:
    return llm.engine != "http" and not is_object(llm.model)


def _is_left_to_workers(recipe: Recipe, device: str | None) -> bool:
    """Return whether a stage's device is that of a cluster's workers: a GPU that this machine need
    not have."""
    return recipe.execution.mode == "ray" and device == "cuda"


def _needs_llm_here(recipe: Recipe) -> bool:
    """Return whether this process asks the LLM on a cluster too: it compares draws in the filters'
    order."""
    generate = recipe.generate
    return generate.from_passages and generate.best_of > 1 and generate.best_by != "round_trip"


def _needs_judge_here(recipe: Recipe, last: Step) -> bool:
    """Return whether this process evaluates the recipe's judge, on the retriever's device."""
    searches = bool({*recipe.evaluate.tasks} - {"judged"} or recipe.evaluate.benchmarks)
    evaluates = last == "train_judge" or (last == "evaluate" and recipe.trains_judge)
    return evaluates and searches


def _needs_retriever(recipe: Recipe) -> bool:
    """Return whether generation compares queries or tasks by the retriever's vectors."""
    generate, filters = recipe.generate, recipe.generate.filters
    by_rank = generate.best_of > 1 and generate.best_by != "ql"
    filtered = filters.round_trip is not None or filters.min_similarity is not None
    return "brainstorm" in generate.methods or (generate.from_passages and (by_rank or filtered))


def _is_local(model: str | None, base_url: str | None) -> bool:
    return model is not None and base_url is None and not is_object(model)
