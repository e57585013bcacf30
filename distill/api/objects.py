"""Objects of the program that replace model references: an `LLM`, an `Encoder`."""

from os import PathLike
from typing import TYPE_CHECKING, Any, NamedTuple

from typing_extensions import get_protocol_members

from distill.models.sources.in_memory import register_object
from distill.recipe import LanguageModel, Recipe, Retriever, Teacher
from distill.recipe.sections.embedder import EmbedderConfig

if TYPE_CHECKING:
    from distill.embed.encoder import Encoder
    from distill.llm.protocol import IdentifiedLLM


class Models(NamedTuple):
    """The objects that a call was given; None where the recipe's own model is used."""

    llm: "IdentifiedLLM | None" = None
    retriever: "Encoder | None" = None
    teacher: "Encoder | None" = None


def put_models(recipe: Recipe, models: Models) -> Recipe:
    """Return the recipe with objects in place of its models. The settings of those models, such
    as a server's address or a prompt, do not apply to the objects.

    Raises:
        UserError: if an object is not what its protocol says.
    """
    sections: dict[str, Any] = {}
    if models.llm is not None:
        reference = register_llm(models.llm)
        sections["llm"] = LanguageModel(model=reference, prompt_format=recipe.llm.prompt_format)
    if models.retriever is not None:
        reference = register_encoder(models.retriever)
        search = recipe.retriever.model_dump(exclude={*EmbedderConfig.model_fields, "model"})
        sections["retriever"] = Retriever(**search, model=reference)
    if models.teacher is not None:
        sections["teacher"] = Teacher(model=register_encoder(models.teacher))
    return recipe.model_copy(update=sections) if sections else recipe


def register_llm(llm: "IdentifiedLLM") -> str:
    """Return the reference that stands for an object of the protocol `LLM`."""
    from distill.llm.protocol import IdentifiedLLM

    return register_object(llm, get_protocol_members(IdentifiedLLM), "distill.llm.IdentifiedLLM")


def register_encoder(encoder: "Encoder") -> str:
    """Return the reference that stands for an `Encoder`."""
    members = ("identity", "dimensions", "wording", "embedder", "encode", "encode_prompted")
    return register_object(encoder, members, "distill.embed.Encoder")


def name_model(model: "str | PathLike[str] | Encoder") -> str:
    """Return the reference of a model: a hub id or path as it is, an object's own."""
    if isinstance(model, str):
        return model
    if isinstance(model, PathLike):
        return str(model.__fspath__())
    return register_encoder(model)
