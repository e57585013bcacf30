"""The section `teacher`."""

from typing import Any, ClassVar, Literal

from pydantic import model_validator

from distill.recipe.sections.embedder import EmbedderConfig
from distill.recipe.sections.section import LocalPath, Word


class Teacher(EmbedderConfig):
    """The section `teacher`: the large embedding model that the student learns from."""

    section: ClassVar[str | None] = "teacher"

    model: Word | None = None
    """The large embedding model that the student learns from and is compared with: a hub id, a
    folder, or with `base_url` its name on the server. null: no teacher, for which model is worth
    learning from is not known, and the default objective (infonce) learns from examples alone. If
    its `query_template` holds {task}, each query is embedded with its task's instruction, in
    training and in evaluation."""
    additional_models: list[Word] = []
    """Further teacher models for `distill score-teacher`, which share the other settings of this
    section."""
    combine: Literal["apart", "concatenate"] = "apart"
    """How several teachers are used. apart: each one's scores are stored separately; concatenate:
    their vectors are concatenated and normalised (Jasper, arXiv 2412.19048)."""

    document_vectors: LocalPath | None = None
    """A file with the vectors that `model` gave the passages, so that the corpus is not embedded
    again: .parquet with the columns id and vector, or .npy or a FAISS index (.faiss, .index) with
    the passages' ids beside it, one a line, in a .txt file of the same name. Ten of them are
    compared with the model. null: passages are embedded. It serves the retriever too, where that is
    the same model."""

    @model_validator(mode="before")
    @classmethod
    def _read_instruction_template(cls, values: Any) -> Any:
        """Read `instruction_template` with {instruction}, as older recipes have it, as
        `query_template` with {task}; null says nothing."""
        if not isinstance(values, dict) or "instruction_template" not in values:
            return values
        values = dict(values)
        template = values.pop("instruction_template")
        if template is None:
            return values
        if "query_template" in values or not isinstance(template, str):
            raise ValueError("instruction_template is query_template now: give that one alone")
        return values | {"query_template": template.replace("{instruction}", "{task}")}
