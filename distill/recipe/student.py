"""The section `student`: what is trained."""

from pydantic import Field, model_validator

from distill.recipe.section import Section


class Student(Section):
    encoder: str = "sentence-transformers/all-MiniLM-L6-v2"
    layers: list[int] | None = None
    """Which of the encoder's layers are kept, counted from 0; null: all."""
    dimensions: int | None = Field(None, gt=0)
    """Output width, through a linear layer on the pooled vector; null: the encoder's own."""
    max_tokens: int = Field(256, gt=0)
    query_template: str = "{query}"
    """A training query as text; must end in {query}. With `default_task` in the place of {task}
    what stands before {query} is saved in the model as its query prompt."""
    default_task: str = "Given a query, find the passages that answer it."
    document_prompt: str = ""
    """Before each document; saved in the model as its document prompt."""

    @model_validator(mode="after")
    def _query_last(self) -> "Student":
        if not self.query_template.endswith("{query}"):
            raise ValueError("query_template must end in {query}: a prompt is what precedes it")
        return self
