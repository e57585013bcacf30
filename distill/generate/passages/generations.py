"""The stage `generations`: what the LLM wrote, word for word, which is never thrown away."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from distill.generate.passages.conditions import load_personas
from distill.generate.passages.method import QueryMethod, open_method
from distill.generate.passages.plan import GenerationPlan, QueryRequest, derive_llm_seed
from distill.generate.settings import WritingSettings
from distill.llm.lazy import choose_needs
from distill.llm.load import choose_prompts_per_call, identify_llm, uses_chat_template
from distill.llm.protocol import LLM, Completion, Sampling
from distill.llm.usable import refuse_if_only_thoughts
from distill.store.run import Run
from distill.store.stage import ShardResult, Stage
from distill.store.tables import GENERATIONS, Row
from distill.workers.protocol import OpenWork

_NOT_WRITTEN = {
    "methods", "prompt", "examples", "personas", "custom", "brainstorm", "labelled", "filters",
    "best_by", "free", "log", "tasks",
}  # fmt: skip
"""What of `generate` does not change what the LLM writes, or is in a fingerprint as a source."""


def make_generations(
    run: Run,
    writing: WritingSettings,
    passages: Stage,
    llm: Callable[[], LLM],
    name: str = "generations",
) -> Stage:
    """Have the LLM write `generate.samples` queries, each in `generate.best_of` draws, for each of
    `generate.passages` seed passages. `llm` is called only if there is something left to write.

    Raises:
        UserError: before the first row, if a file that the recipe names is missing or malformed,
            or if its form is chat and the model has no chat template.
    """
    method, settings = open_method(writing), writing.generate
    stage = run.open_stage(name, fingerprint(writing, method), [passages])
    if stage.complete:
        return stage
    plan = GenerationPlan(writing, passages)
    tokens = stage.map_on_workers(
        GENERATIONS,
        plan.list_shards(),
        partial(_open_writer, writing, plan, llm),
        choose_needs(llm),
        size=lambda places: len(places) * settings.samples * settings.best_of,
        unit="prompts",
        together=max(1, choose_prompts_per_call(writing.llm) // settings.shard_size),
        key="generate.shard_size",
        requests_a_unit=1,
    )
    stage.finish(tokens=tokens)
    return stage


@contextmanager
def _open_writer(
    writing: WritingSettings, plan: GenerationPlan, llm: Callable[[], LLM]
) -> Iterator[OpenWork[range, ShardResult]]:
    method, engine, settings = open_method(writing), llm(), writing.generate
    chat = uses_chat_template(writing.llm, engine)
    sampling = method.make_sampling(chat, settings.constrain and method.can_be_constrained(engine))

    def write_shards(some: Sequence[range]) -> list[ShardResult]:
        requests = [[*plan.list_requests(places)] for places in some]
        return _write(requests, writing, method, engine, sampling)

    yield OpenWork(write_shards, lambda: engine.tokens)


def fingerprint(writing: WritingSettings, method: QueryMethod) -> dict[str, object]:
    """Return what changes the text that is written: the fingerprint. Filters and the reading of
    replies are not in it, so that what an LLM was paid for outlives a change of those."""
    personas = load_personas(writing.generate.personas, writing.folder)
    return {
        **writing.generate.list_fingerprinted(exclude=_NOT_WRITTEN),
        **method.source,
        "personas": hashlib.sha256("\n".join(personas).encode()).hexdigest() if personas else None,
        "llm": identify_llm(writing.llm),
        "seed": writing.seed,
    }


def _write(
    shards: list[list[QueryRequest]],
    writing: WritingSettings,
    method: QueryMethod,
    llm: LLM,
    sampling: Sampling,
) -> list[ShardResult]:
    """Write some shards in one call of the engine."""
    best_of = writing.generate.best_of
    draws = [[(one, draw) for one in requests for draw in range(best_of)] for requests in shards]
    every = [one for of_shard in draws for one in of_shard]
    prompts = [method.render_prompt(one.passage, one.conditions, sampling.chat) for one, _ in every]
    seeds = [derive_llm_seed(writing.seed, one, draw) for one, draw in every]
    replies = llm.generate(prompts, seeds, sampling)
    refuse_if_only_thoughts(replies, writing.llm, "generate.max_new_tokens")
    written = iter(replies)
    return [
        _make_shard([_make_row(one, draw, next(written), llm.name) for one, draw in of_shard])
        for of_shard in draws
    ]


def _make_shard(rows: list[Row]) -> ShardResult:
    refused = sum(row["fault"] is not None for row in rows)
    unfinished = sum(not row["finished"] for row in rows) - refused
    return ShardResult(rows, +Counter(written=len(rows), refused=refused, unfinished=unfinished))


def _make_row(request: QueryRequest, draw: int, written: Completion, llm: str) -> Row:
    conditions = request.conditions
    return {
        "passage_id": request.passage["passage_id"],
        "sample": request.sample,
        "draw": draw,
        "task_type": conditions.task_type,
        "persona": conditions.persona,
        "length": conditions.length,
        "difficulty": conditions.difficulty,
        "language": conditions.language,
        # A server's JSON can hold half of a surrogate pair, which no file can.
        "output": written.text.encode(errors="replace").decode(),
        "finished": written.finished,
        "fault": written.fault,
        "llm": llm,
    }
