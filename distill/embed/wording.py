"""Write texts for an embedder: with the prompts that it reads before a query and before a
document."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from distill.embed.published import PublishedSettings
from distill.recipe.sections.embedder import PLAIN_QUERY, EmbedderConfig
from distill.text.format import DOCUMENT_TEMPLATE, QUERY_TEMPLATE, Side, TextFormat
from distill.text.templates import fill_template, find_template_names

_logger = logging.getLogger(__name__)

PROMPT_NAMES: dict[Side, tuple[str, ...]] = {
    "query": ("query",),
    "document": ("document", "passage", "corpus"),
}
"""The names under which sentence-transformers looks for a side's prompt."""
_DOCUMENTS = {*PROMPT_NAMES["document"], DOCUMENT_TEMPLATE}
DEFAULT_TASK = "Given a query, find the passages that answer it."
"""What an embedder that is told tasks is told of a query that has none."""


@dataclass(frozen=True)
class EmbedderPrompts:
    """The prompts of an embedder. `template` may hold {task} and ends in {query}; `document`
    precedes each document, unless `titled` is the template of one with its title."""

    template: str = PLAIN_QUERY
    document: str = ""
    titled: TextFormat | None = None

    @property
    def has_task(self) -> bool:
        """Whether a query is embedded differently for another task."""
        return "task" in find_template_names(self.template)

    @property
    def shows_query(self) -> bool:
        """Whether the template shows where the task ends and the query begins. A blank between them
        is not enough, since blanks also stand between the words of a task."""
        between = self._before_query
        return not self.has_task or bool(between.strip()) or "\n" in between

    @property
    def _before_query(self) -> str:
        """The text between the task and the query; without a task, all before the query."""
        return fill_template(self.template.removesuffix("{query}").rpartition("{task}")[2])

    def write_query_prompt(self, task: str | None = None) -> str:
        """Return the prompt of a query of this task."""
        before = self.template.removesuffix("{query}")
        return fill_template(before, task=DEFAULT_TASK if task is None else task)

    def write_document(self, text: str, title: str) -> str:
        """Write a document with its prompt and title."""
        if self.titled is not None:
            return "".join(self.titled.write_document(text, title))
        return self.document + f"{title} {text}".strip()

    @property
    def before_documents(self) -> str:
        """The text before every document, up to the place of a title."""
        return (
            self.document if self.titled is None else self.titled.write_document("", "title").prompt
        )

    def write(
        self, texts: Sequence[str], side: Side, tasks: Sequence[str] | None = None
    ) -> list[str]:
        """Write the whole texts that are embedded, prompts included.

        Args:
            tasks: of queries, one each.
        """
        if side == "document" and self.titled is not None:
            return [self.write_document(text, "") for text in texts]
        if side == "document":
            return [self.document + text for text in texts]
        if tasks is None:
            prompt = self.write_query_prompt()
            return [prompt + text for text in texts]
        return [
            self.write_query_prompt(task) + text for task, text in zip(tasks, texts, strict=True)
        ]

    def split(self, text: str, side: Side) -> tuple[str, str]:
        """Split a whole text into its prompt and what follows it. The prompt of a document without
        a title goes on to the text, as in training: what stands in the title's place is no word of
        the document."""
        if side == "document":
            prompt = self.before_documents
            if self.titled is not None and text.startswith(self.titled.document_prompt):
                prompt = self.titled.document_prompt
            return prompt, text[len(prompt) :]
        # No task of one line holds it, where it shows.
        end = self._before_query
        start = text.index(end) + len(end) if end and end in text else 0
        return text[:start], text[start:]


PLAIN = EmbedderPrompts()
"""Texts as they are."""


def choose_prompts(
    settings: EmbedderConfig,
    reference: str,
    carried: Mapping[str, str],
    published: PublishedSettings,
) -> EmbedderPrompts:
    """Choose the prompts: of the settings, else as published with the model, else in its files.

    Args:
        carried: the prompts in the model's configuration, by name.
    """
    named = published.prompts or carried
    own = {side: _find_named(named, side) for side in PROMPT_NAMES}
    template, students_own = settings.query_template, find_carried_template(carried)
    if template == PLAIN_QUERY and not settings.query_prompt:
        template = published.template or students_own or PLAIN_QUERY
    # A student's own template is whole: its prompt is what the template gives for one task.
    if not has_words(template) and template != students_own:
        template = escape_prompt(settings.query_prompt or own["query"]) + template
    document = settings.document_prompt or published.document or own["document"]
    titled = carried.get(DOCUMENT_TEMPLATE)
    wording = EmbedderPrompts(
        template,
        document,
        TextFormat(document_template=titled) if titled and not settings.document_prompt else None,
    )
    if template == PLAIN_QUERY and any(
        prompt and name not in _DOCUMENTS for name, prompt in named.items()
    ):
        _logger.warning(
            "%s carries prompts (%s), and none is called query: its queries are embedded without "
            "one; set %s or %s",
            reference,
            ", ".join(name for name, prompt in named.items() if prompt),
            settings.name_key("query_prompt"),
            settings.name_key("query_template"),
        )
    return wording


def has_words(template: str) -> bool:
    """Return whether a template has text of its own; such a template replaces the prompt."""
    return bool(fill_template(template, task="", query="").strip())


def _find_named(prompts: Mapping[str, str], side: Side) -> str:
    return next((prompts[name] for name in PROMPT_NAMES[side] if name in prompts), "")


def find_carried_template(carried: Mapping[str, str]) -> str | None:
    """Return the template that a student of distill has among its prompts, with no brace but those
    of its two names; None if it has none."""
    template = carried.get(QUERY_TEMPLATE)
    if not template:
        return None
    return escape_prompt(template).replace("{{task}}", "{task}").replace("{{query}}", "{query}")


def escape_prompt(prompt: str) -> str:
    """Escape a prompt as part of a template."""
    return prompt.replace("{", "{{").replace("}", "}}")
