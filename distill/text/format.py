"""The format in which a query and a document are written for a student: in training, in evaluation
and in search.

One module for all of them, because a model that is asked in another form than it was trained in is
another model (Gecko, 2403.20327, table 4: 3 points). The templates are saved among the model's
prompts, so that they are known wherever the model goes.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

Side = Literal["query", "document"]
"""Which side of a search a text is on."""

QUERY_TEMPLATE, DOCUMENT_TEMPLATE = "query_template", "document_template"
"""The names of the templates among a saved model's prompts."""
NO_TITLE = "none"
"""What stands in the title's place for a document without one (as in EmbeddingGemma)."""


class PromptedText(NamedTuple):
    """A text as a model reads it: the prompt, directly followed by the text."""

    prompt: str
    text: str


@dataclass(frozen=True)
class TextFormat:
    """The templates of a student. `query_template` ends in {query} and may hold {task};
    `document_template` ends in {text} and may hold {title}."""

    query_template: str = "{query}"
    document_template: str = "{text}"

    @property
    def has_task(self) -> bool:
        """Whether a query is written with its task."""
        return "{task}" in self.query_template

    @property
    def has_title(self) -> bool:
        """Whether the template of documents has a place for the title."""
        return "{title}" in self.document_template

    def write_query_prompt(self, task: str) -> str:
        """Return the prompt of a query of this task."""
        return self.query_template.removesuffix("{query}").replace("{task}", task)

    @property
    def document_prompt(self) -> str:
        """The prompt of a document without a title."""
        return self.document_template.removesuffix("{text}").replace("{title}", NO_TITLE)

    def write_query(self, query: str, task: str) -> PromptedText:
        """Write a query of this task."""
        return PromptedText(self.write_query_prompt(task), query)

    def write_document(self, text: str, title: str = "") -> PromptedText:
        """Write a document: a title goes into its place in the template, else before the text. It
        is part of the text and not of the prompt: it belongs to what a document says."""
        title = title.strip()
        if not self.has_title:
            return PromptedText(self.document_prompt, f"{title} {text}".strip())
        if not title:
            return PromptedText(self.document_prompt, text)
        before, behind = self.document_template.removesuffix("{text}").split("{title}", 1)
        return PromptedText(before, f"{title}{behind}{text}")

    def make_prompts(self, default_task: str) -> dict[str, str]:
        """Return the prompts to save with a model: of both sides, which sentence-transformers puts
        before a text by itself, and the templates if there is something to fill in."""
        prompts = {"query": self.write_query_prompt(default_task), "document": self.document_prompt}
        if self.has_task:
            prompts[QUERY_TEMPLATE] = self.query_template
        if self.has_title:
            prompts[DOCUMENT_TEMPLATE] = self.document_template
        return prompts
