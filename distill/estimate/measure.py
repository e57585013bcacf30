"""Measure, or else count, what one prompt, one judged pair or one embedded text takes."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from distill.corpus.split import estimate_tokens as count_tokens
from distill.embed.open_embedder import open_embedder
from distill.errors import UserError
from distill.estimate.amounts import UNKNOWN, ZERO, Amount, make_exact_amount
from distill.generate.passages.method import QueryMethod
from distill.generate.passages.plan import GenerationPlan, QueryRequest, derive_llm_seed
from distill.generate.settings import WritingSettings
from distill.llm.load import uses_chat_template
from distill.llm.protocol import LLM, Completion
from distill.recipe import EmbedderConfig, Teacher

T = TypeVar("T")

_COUNTED = 64
"""Prompts whose words are counted where none is asked."""
_TEXTS_A_PROMPT = 8
"""Texts embedded for each prompt of the sample, as each takes so much less time."""


@dataclass(frozen=True)
class UnitCost:
    """The tokens and seconds of an LLM for one unit of work. `shared` is None if unknown."""

    prompt: Amount
    new: Amount
    shared: Amount | None = None
    seconds: Amount = UNKNOWN


@dataclass(frozen=True)
class QuerySample:
    """Sampled requests, the LLM's completions (empty if it was not used), and the cost of one of
    them."""

    requests: list[QueryRequest]
    completions: list[Completion]
    each: UnitCost


def sample_prompts(
    writing: WritingSettings,
    method: QueryMethod,
    plan: GenerationPlan,
    llm: Callable[[], LLM],
    size: int,
) -> QuerySample:
    """Generate for `size` of the run's own prompts, evenly spread over the corpus, with their own
    seeds and settings, so that the run finds a server's replies again. Of 0, only count words."""
    requests = [plan[row] for row in choose_evenly(len(plan), size or _COUNTED)]
    if not size:
        chat = writing.llm.prompt_format == "chat"
        prompts = [method.render_prompt(one.passage, one.conditions, chat) for one in requests]
        return QuerySample(
            requests,
            [],
            UnitCost(count_mean_tokens(prompts), expect_half(writing.generate.max_new_tokens)),
        )
    engine = llm()
    chat = uses_chat_template(writing.llm, engine)
    sampling = method.make_sampling(
        chat, writing.generate.constrain and method.can_be_constrained(engine)
    )
    prompts = [method.render_prompt(one.passage, one.conditions, chat) for one in requests]
    seeds = [derive_llm_seed(writing.seed, one, 0) for one in requests]
    clock = UsageMeter(engine)
    completions = engine.generate(prompts, seeds, sampling)
    each = clock.compute_cost(len(requests)) or UnitCost(
        count_mean_tokens(prompts), count_mean_tokens([w.text for w in completions])
    )
    return QuerySample(requests, completions, each)


class UsageMeter:
    """Measures what an engine counts, and its time, from now on."""

    def __init__(self, engine: LLM) -> None:
        self._engine = engine
        self._before = dict(engine.tokens)
        self._begun = time.perf_counter()

    def compute_cost(self, pieces: int) -> UnitCost | None:
        """Compute the mean cost of one of these pieces; None if some came from a cache, which takes
        nothing."""
        seconds = time.perf_counter() - self._begun
        spent = {key: n - self._before.get(key, 0) for key, n in self._engine.tokens.items()}
        if spent.get("cached") or not spent["prompt"]:
            return None
        return UnitCost(
            prompt=make_exact_amount(spent["prompt"] / pieces),
            new=make_exact_amount(spent["new"] / pieces),
            shared=make_exact_amount(spent["shared"] / pieces),
            seconds=make_exact_amount(seconds / pieces),
        )


_OF_SPEED = {"max_tokens", "device", "batch_tokens", "dtype", "bidirectional", "append_eos"}
"""The settings of an embedder that its speed depends on, or whether it can be had."""


class EmbeddedText(NamedTuple):
    """The seconds that an embedder takes for one text, and the width of its vector, None if
    unknown."""

    seconds: Amount
    dimensions: int | None


@dataclass
class EmbeddingSpeed:
    """A meter of the time that each embedder of the recipe takes for a text; each is measured once,
    on some passages.

    `faults` says which embedder could not be measured, and why.
    """

    texts: Sequence[str]
    faults: list[str] = field(default_factory=list)
    _known: dict[tuple[object, ...], EmbeddedText] = field(default_factory=dict)

    def measure(self, model: str, settings: EmbedderConfig) -> EmbeddedText:
        """Return what a text takes; unknown without texts to measure on, or if the model is not
        available."""
        known = (model, settings.model_dump_json(include=_OF_SPEED))
        if known not in self._known:
            unknown = EmbeddedText(UNKNOWN, None)
            self._known[known] = self._measure(model, settings) if self.texts else unknown
        return self._known[known]

    def _measure(self, model: str, settings: EmbedderConfig) -> EmbeddedText:
        try:
            encoder = open_embedder(settings, model)
        except UserError as fault:
            self.faults.append(f"{model} {fault.what}")
            return EmbeddedText(UNKNOWN, None)
        encoder.encode(self.texts[:2], "document")
        start = time.perf_counter()
        encoder.encode(self.texts, "document")
        seconds = make_exact_amount((time.perf_counter() - start) / len(self.texts))
        return EmbeddedText(seconds, encoder.dimensions)


def measure_teacher(teacher: Teacher, embedding: EmbeddingSpeed) -> EmbeddedText:
    """Measure what a text takes of the teacher; unknown without a teacher, and for a server."""
    if teacher.model is None or teacher.base_url is not None:
        return EmbeddedText(UNKNOWN, None)
    return embedding.measure(teacher.model, teacher)


def count_texts_to_embed(size: int) -> int:
    """Return how many texts an embedder is measured on, for a sample of `size` prompts."""
    return size * _TEXTS_A_PROMPT


def choose_evenly(rows: int, count: int) -> list[int]:
    """Choose at most `count` numbers below `rows`, evenly spread."""
    count = min(rows, count)
    return [number * rows // count for number in range(count)]


def count_mean_tokens(texts: Sequence[str]) -> Amount:
    """Estimate the mean number of tokens, with a word or punctuation mark as one and a third."""
    if not texts:
        return ZERO
    return make_exact_amount(sum(count_tokens(text) for text in texts) / len(texts))


def expect_half(max_new_tokens: int) -> Amount:
    """Expect half of the allowed new tokens, where no reply was sampled."""
    return make_exact_amount(max_new_tokens / 2)
