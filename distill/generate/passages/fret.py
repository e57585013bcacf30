"""FRet, step one (Gecko, section 3.2): from a passage, a task and a query."""

from collections.abc import Callable
from dataclasses import dataclass

from distill.generate.passages.conditions import GenerationConditions
from distill.generate.passages.few_shot import FewShotExample, FewShotPool
from distill.generate.passages.reply import ParsedQuery, ReplyOrder, parse_reply
from distill.llm.prompts import Prompt
from distill.llm.protocol import LLM, Sampling
from distill.recipe import Generate, TaskType
from distill.store.tables import Row
from distill.text.sanitize import sanitize_for_prompt

_STOP = ("\n\n", "\nPassage:", "\nType:")
_LINES = {"Task": r"[^\s][^\n]{7,119}", "Query": r"[^\s][^\n]{2,159}"}


@dataclass(frozen=True)
class FretMethod:
    """A `QueryMethod`: a few-shot prompt that asks for a query and a task of the given type.
    `order` is that of the reply's lines; where it is "query", `task` is the one of all."""

    settings: Generate
    prompt_file: Prompt
    pool: FewShotPool
    order: ReplyOrder
    task: str
    languages: dict[str, str]
    draw_examples: Callable[[TaskType, int], list[FewShotExample]]

    @property
    def source(self) -> dict[str, str]:
        """The texts that decide the result, for fingerprints."""
        return {"prompt": self.prompt_file.source, "examples": self.pool.source}

    def render_prompt(self, passage: Row, conditions: GenerationConditions, chat: bool) -> str:
        """Render FRet's prompt for a passage, with examples of the task type."""
        text = f"{passage['title']}\n{passage['text']}"
        return self.prompt_file.render(
            passage=sanitize_for_prompt(text, self.settings.max_passage_words),
            examples=self.draw_examples(conditions.task_type, conditions.example_set),
            **conditions.list_variables(self.languages),
            chat=chat,
        )

    def can_be_constrained(self, llm: LLM) -> bool:
        """Return whether the engine can hold its output to the regular expression of a reply."""
        return llm.supports_regex

    def make_sampling(self, chat: bool, constrain: bool) -> Sampling:
        """Make the sampling settings of a reply, constrained if the engine can."""
        settings = self.settings
        return Sampling(
            settings.max_new_tokens,
            settings.temperature,
            settings.top_p,
            # A chat model ends by itself, and may think in paragraphs before it answers.
            stop=() if constrain or chat else _STOP,
            chat=chat,
            regex=make_reply_regex(self.order, chat) if constrain else None,
        )

    def parse(self, output: str, finished: bool) -> ParsedQuery:
        """Read the task and the query in a reply; a query of the prompt's own examples is
        refused."""
        return parse_reply(output, finished, self.pool.queries, self.order)


def make_reply_regex(order: ReplyOrder, chat: bool) -> str:
    """Make the regular expression of a whole reply. A continued text begins behind the first label,
    and nothing but its last line break ends it; a chat model ends its reply by itself."""
    labels = [label.title() for label in order.split(", ")]
    lines = r"\n".join(f"{label}: {_LINES[label]}" for label in labels)
    return rf"{lines}\n?" if chat else lines.removeprefix(f"{labels[0]}:") + r"\n"
