"""FRet, step one (Gecko, section 3.2): from a passage, a task and a query.

The stage `generations` holds what the LLM wrote, word for word, and is never thrown away. Memory
does not grow with the corpus: seed passages are numbers of rows, and a shard reads its own.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple, Protocol

import numpy as np

from distill.errors import UserError
from distill.generate.passages.conditions import (
    GenerationConditions,
    draw_conditions,
    language_names,
    load_personas,
)
from distill.generate.passages.custom import load_custom
from distill.generate.passages.few_shot import FewShotExample, FewShotPool, load_pool
from distill.generate.passages.parse import ParsedQuery, ReplyOrder, parse
from distill.llm.load import choose_prompts_per_call, identify_llm, uses_chat_template
from distill.llm.prompts import Prompt, load_prompt, sanitize_for_prompt
from distill.llm.protocol import LLM, Completion, Sampling
from distill.recipe import Recipe, TaskType
from distill.store.run import Run, ShardResult, Stage
from distill.store.tables import GENERATIONS, PASSAGES, Reader, Row, passage_text, read_rows
from distill.text.words import count_words

_STOP = ("\n\n", "\nPassage:", "\nType:")
_LINES = {"Task": r"[^\s][^\n]{7,119}", "Query": r"[^\s][^\n]{2,159}"}
_NOT_WRITTEN = {
    "methods", "prompt", "examples", "personas", "custom", "brainstorm", "labelled", "filters",
    "best_by",
}  # fmt: skip
"""What of `generate` does not change what the LLM writes, or is in a fingerprint as a source."""


class QueryMethod(Protocol):
    """From a passage to the LLM's prompt, and from what it wrote to a query."""

    @property
    def source(self) -> dict[str, str]:
        """The files that it is made of: part of fingerprints."""
        ...

    def prompt(self, passage: Row, conditions: GenerationConditions, chat: bool) -> str: ...

    def sampling(self, chat: bool, constrain: bool) -> Sampling: ...

    def can_be_forced(self, llm: LLM) -> bool:
        """Whether this engine forces the form of the method's replies."""
        ...

    def parse(self, output: str, finished: bool) -> ParsedQuery: ...

    @property
    def task(self) -> str:
        """The task of queries whose replies name none."""
        ...


@dataclass(frozen=True)
class FretMethod:
    """A `QueryMethod`: a few-shot prompt that asks for a query and a task of the given type.
    `order` is that of the reply's lines; where it is "query", `task` is the one of all."""

    recipe: Recipe
    prompt_file: Prompt
    pool: FewShotPool
    order: ReplyOrder
    task: str
    languages: dict[str, str]
    hand: Callable[[TaskType, int], list[FewShotExample]]

    @property
    def source(self) -> dict[str, str]:
        return {"prompt": self.prompt_file.source, "examples": self.pool.source}

    def prompt(self, passage: Row, conditions: GenerationConditions, chat: bool) -> str:
        text = f"{passage['title']}\n{passage['text']}"
        return self.prompt_file.render(
            passage=sanitize_for_prompt(text, self.recipe.generate.max_passage_words),
            task_type=conditions.task_type,
            examples=self.hand(conditions.task_type, conditions.hand),
            persona=conditions.persona,
            length=conditions.length,
            difficulty=conditions.difficulty,
            language=self.languages.get(conditions.language or ""),
            chat=chat,
        )

    def can_be_forced(self, llm: LLM) -> bool:
        return llm.supports_regex

    def sampling(self, chat: bool, constrain: bool) -> Sampling:
        settings = self.recipe.generate
        return Sampling(
            settings.max_new_tokens,
            settings.temperature,
            settings.top_p,
            # A chat model ends by itself, and may think in paragraphs before it answers.
            stop=() if constrain or chat else _STOP,
            chat=chat,
            regex=reply_form(self.order, chat) if constrain else None,
        )

    def parse(self, output: str, finished: bool) -> ParsedQuery:
        return parse(output, finished, self.pool.queries, self.order)


def reply_form(order: ReplyOrder, chat: bool) -> str:
    """The regular expression of a whole reply. A continued text begins behind the first label, and
    nothing but its last line break ends it; a chat model ends its reply by itself."""
    labels = [label.title() for label in order.split(", ")]
    lines = r"\n".join(f"{label}: {_LINES[label]}" for label in labels)
    return rf"{lines}\n?" if chat else lines.removeprefix(f"{labels[0]}:") + r"\n"


def open_method(recipe: Recipe) -> QueryMethod:
    """The method that writes queries for passages: fret or custom, with its files read.

    Raises:
        UserError: if one of its files is missing or malformed.
    """
    if "custom" in recipe.generate.methods:
        return load_custom(recipe)
    settings, pool = recipe.generate, load_pool(recipe)
    prompt = load_prompt(settings.prompt, recipe.folder, parts=1)
    task = prompt.constant("task")

    @cache
    def hand(task_type: TaskType, number: int) -> list[FewShotExample]:
        return pool.hand(task_type, number, settings.shots, recipe.seed)

    names = language_names(settings.languages)
    return FretMethod(recipe, prompt, pool, _order(prompt), task or "", names, hand)


def _order(prompt: Prompt) -> ReplyOrder:
    """A prompt's file may set the `task` of all its queries, or say that the reply's `first` line
    is the query."""
    if prompt.constant("task"):
        return "query"
    first = prompt.constant("first")
    if first not in (None, "task", "query"):
        raise UserError(str(prompt.path), f"sets first to {first!r}", "set it to task or query")
    return "query, task" if first == "query" else "task, query"


class QueryRequest(NamedTuple):
    """One query to be written: for which passage, the how-manieth, and under what conditions."""

    passage: Row
    sample: int
    conditions: GenerationConditions


class GenerationPlan:
    """All queries to be written, by number, passage after passage in the order of the corpus."""

    def __init__(self, recipe: Recipe, passages: Stage) -> None:
        self.recipe = recipe
        self._personas = load_personas(recipe)
        self._reader = Reader(PASSAGES, passages.folder)
        rows = telling_rows(passages, recipe.generate.min_passage_words)
        self._seeds = seed_rows(rows, recipe.generate.passages, recipe.seed)

    @property
    def passages(self) -> int:
        return len(self._seeds)

    def __len__(self) -> int:
        return self.passages * self.recipe.generate.samples

    def __getitem__(self, row: int) -> QueryRequest:
        if not 0 <= row < len(self):
            raise IndexError(row)
        settings = self.recipe.generate
        place, sample = divmod(row, settings.samples)
        passage = self._reader[int(self._seeds[place])]
        conditions = draw_conditions(
            settings, self._personas, self.recipe.seed, row, passage["passage_id"], sample
        )
        return QueryRequest(passage, sample, conditions)

    def of_passages(self, places: range) -> Iterator[QueryRequest]:
        samples = self.recipe.generate.samples
        return (self[row] for row in range(places.start * samples, places.stop * samples))

    def shards(self) -> list[range]:
        """Ranges of seed passages: a shard holds all that is written for each of its own."""
        settings = self.recipe.generate
        size = max(1, settings.shard_size // (settings.samples * settings.best_of))
        return [
            range(start, min(start + size, self.passages))
            for start in range(0, self.passages, size)
        ]


def telling_rows(passages: Stage, words: int) -> np.ndarray:
    """The numbers of the passages with at least so many words, in order.

    Raises:
        UserError: if there is none.
    """
    if words == 0:
        return np.arange(len(Reader(PASSAGES, passages.folder)))
    rows = enumerate(read_rows(PASSAGES, passages.folder))
    telling = (number for number, row in rows if count_words(passage_text(row)) >= words)
    found = np.fromiter(telling, dtype=np.int64)
    if not found.size:
        raise UserError(
            str(passages.folder),
            f"no passage has {words} words",
            "lower generate.min_passage_words, or split the corpus less finely",
        )
    return found


def seed_rows(rows: np.ndarray, count: int, seed: int) -> np.ndarray:
    """`count` of the numbers (all, where there are fewer), drawn without replacement and sorted.
    RandomState's stream is frozen, so that any later numpy continues the same run."""
    draw = np.random.RandomState(_seed(seed, "seed passages") % 2**32)
    return np.sort(rows[draw.permutation(len(rows))[:count]])


def make_generations(run: Run, recipe: Recipe, passages: Stage, llm: Callable[[], LLM]) -> Stage:
    """Have the LLM write `generate.samples` queries, each in `generate.best_of` draws, for each of
    `generate.passages` seed passages. `llm` is called only if there is something left to write.

    Raises:
        UserError: before the first row, if a file that the recipe names is missing or malformed,
            or if its form is chat and the model has no chat template.
    """
    method = open_method(recipe)
    stage = run.stage("generations", generation_settings(recipe, method), [passages])
    if stage.complete:
        return stage
    plan = GenerationPlan(recipe, passages)
    engine = llm()
    chat = uses_chat_template(recipe, engine)
    sampling = method.sampling(chat, recipe.generate.constrain and method.can_be_forced(engine))
    before = dict(engine.tokens)

    def work(some: Sequence[range]) -> list[ShardResult]:
        asked = [[*plan.of_passages(places)] for places in some]
        return _write(asked, recipe, method, engine, sampling)

    stage.map_together(
        GENERATIONS,
        plan.shards(),
        work,
        together=max(1, choose_prompts_per_call(recipe.llm) // recipe.generate.shard_size),
        size=lambda places: len(places) * recipe.generate.samples * recipe.generate.best_of,
        unit="prompts",
        tokens=lambda: engine.tokens,
        key="generate.shard_size",
    )
    stage.finish(tokens={key: engine.tokens[key] - before.get(key, 0) for key in engine.tokens})
    return stage


def generation_settings(recipe: Recipe, method: QueryMethod) -> dict[str, object]:
    """What changes the text that is written: the fingerprint. Filters and the reading of replies
    are not in it, so that what an LLM was paid for outlives a change of those."""
    personas = load_personas(recipe)
    return {
        **recipe.generate.model_dump(exclude=_NOT_WRITTEN),
        **method.source,
        "personas": hashlib.sha256("\n".join(personas).encode()).hexdigest() if personas else None,
        "llm": identify_llm(recipe.llm),
        "seed": recipe.seed,
    }


def draw_seed(recipe: Recipe, asked: QueryRequest, draw: int) -> int:
    """The LLM's seed (31 bits, which every engine takes): the one thing that differs by draw."""
    return _seed(recipe.seed, asked.passage["passage_id"], asked.sample, draw) % 2**31


def _seed(*parts: object) -> int:
    digest = hashlib.sha256("|".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:8], "big")


def _write(
    shards: list[list[QueryRequest]],
    recipe: Recipe,
    method: QueryMethod,
    llm: LLM,
    sampling: Sampling,
) -> list[ShardResult]:
    """Some shards in one call of the engine."""
    draws = [
        [(one, draw) for one in asked for draw in range(recipe.generate.best_of)]
        for asked in shards
    ]
    every = [one for of_shard in draws for one in of_shard]
    prompts = [method.prompt(one.passage, one.conditions, sampling.chat) for one, _ in every]
    seeds = [draw_seed(recipe, one, draw) for one, draw in every]
    written = iter(llm.generate(prompts, seeds, sampling))
    return [
        _shard([_row(one, draw, next(written), llm.name) for one, draw in of_shard])
        for of_shard in draws
    ]


def _shard(rows: list[Row]) -> ShardResult:
    refused = sum(row["fault"] is not None for row in rows)
    unfinished = sum(not row["finished"] for row in rows) - refused
    return ShardResult(rows, +Counter(written=len(rows), refused=refused, unfinished=unfinished))


def _row(asked: QueryRequest, draw: int, written: Completion, llm: str) -> Row:
    conditions = asked.conditions
    return {
        "passage_id": asked.passage["passage_id"],
        "sample": asked.sample,
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
