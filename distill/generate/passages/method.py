"""The interface of the methods that write queries for passages, and the choice of the recipe's."""

from functools import cache
from typing import Protocol

from distill.errors import UserError
from distill.generate.passages.conditions import GenerationConditions, load_language_names
from distill.generate.passages.custom import load_custom
from distill.generate.passages.few_shot import FewShotExample, load_pool
from distill.generate.passages.fret import FretMethod
from distill.generate.passages.reply import ParsedQuery, ReplyOrder
from distill.generate.settings import WritingSettings
from distill.llm.prompts import Prompt, load_prompt
from distill.llm.protocol import LLM, Sampling
from distill.recipe import TaskType
from distill.store.tables import Row


class QueryMethod(Protocol):
    """A method that makes an LLM's prompt from a passage, and a query from the LLM's reply."""

    @property
    def source(self) -> dict[str, str]:
        """The files that it is made of: part of fingerprints."""
        ...

    def render_prompt(self, passage: Row, conditions: GenerationConditions, chat: bool) -> str:
        """Render the prompt for a passage."""
        ...

    def make_sampling(self, chat: bool, constrain: bool) -> Sampling:
        """Make the sampling settings of a reply."""
        ...

    def can_be_constrained(self, llm: LLM) -> bool:
        """Return whether this engine forces the form of the method's replies."""
        ...

    def parse(self, output: str, finished: bool) -> ParsedQuery:
        """Read the query in a reply, or the reason why there is none."""
        ...

    @property
    def task(self) -> str:
        """The task of queries whose replies name none."""
        ...


def open_method(writing: WritingSettings) -> QueryMethod:
    """Open the method that writes queries for passages: fret or custom, with its files read.

    Raises:
        UserError: if one of its files is missing or malformed.
    """
    settings, folder = writing.generate, writing.folder
    if "custom" in settings.methods:
        return load_custom(settings, folder)
    pool = load_pool(settings, folder)
    prompt = load_prompt(settings.prompt, folder, parts=1)
    task = prompt.read_constant("task")

    @cache
    def draw_examples(task_type: TaskType, number: int) -> list[FewShotExample]:
        return pool.draw_examples(task_type, number, settings.shots, writing.seed)

    names = load_language_names(settings.languages)
    return FretMethod(settings, prompt, pool, _read_order(prompt), task or "", names, draw_examples)


def _read_order(prompt: Prompt) -> ReplyOrder:
    """Read the order of a reply's lines: a prompt's file may set the `task` of all its queries, or
    say that the reply's `first` line is the query."""
    if prompt.read_constant("task"):
        return "query"
    first = prompt.read_constant("first")
    if first not in (None, "task", "query"):
        raise UserError(str(prompt.path), f"sets first to {first!r}", "set it to task or query")
    return "query, task" if first == "query" else "task, query"
