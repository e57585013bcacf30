"""Read from mteb what the files of published embedders do not say: the prompts with which they were
trained and are compared, and whether their texts end in the end-of-sequence token."""

import functools
import importlib
import importlib.util
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distill.embed.published_cache import read_or_look_up
from distill.recipe.sections.embedder import EmbedderConfig
from distill.text.templates import find_template_names

_logger = logging.getLogger(__name__)

_TEMPLATES = {"Qwen/Qwen3-Embedding": "Instruct: {task}\nQuery:{query}"}
"""By how the name begins: of those whose template mteb keeps inside a loader."""


_SIDES = ("query", "document", "passage", "corpus")


@dataclass(frozen=True)
class PublishedSettings:
    """The settings with which mteb runs a published embedder. `prompts` are by name, as
    sentence-transformers has them; `template` holds {task} and ends in {query}; `instructions` give
    by a task's name, category or side what the model is told."""

    prompts: Mapping[str, str] = field(default_factory=dict)
    template: str | None = None
    document: str = ""
    instructions: Mapping[str, Any] = field(default_factory=dict)
    append_eos: bool = False

    @property
    def mark(self) -> dict[str, object]:
        """The settings that change vectors, for fingerprints; empty if nothing is known."""
        known = {
            "template": self.template,
            "document": self.document,
            "prompts": {side: self.prompts[side] for side in self.prompts if side in _SIDES},
            "append_eos": self.append_eos,
        }
        return {name: value for name, value in known.items() if value}


NOTHING_PUBLISHED = PublishedSettings()


def look_up_published(reference: str, settings: EmbedderConfig) -> PublishedSettings:
    """Look up a model's published settings under its hub id, or the one that it is `known_as`."""
    name = settings.known_as or find_hub_id(reference)
    return NOTHING_PUBLISHED if name is None or settings.base_url else _look_up_in_mteb(name)


def find_hub_id(reference: str) -> str | None:
    """Return owner/name of a reference to the hub, or of a folder in the hub's cache; None for
    others."""
    if reference.startswith("wheel:"):
        return None
    path = Path(reference).expanduser()
    if not path.exists():
        return reference.partition("@")[0]
    for part in path.resolve().parts:
        if part.startswith("models--"):
            return part.removeprefix("models--").replace("--", "/", 1)
    return None


@functools.cache
def _look_up_in_mteb(name: str) -> PublishedSettings:
    if importlib.util.find_spec("mteb") is None:
        _logger.warning(
            "%s: mteb, which knows the prompts of published models, is not installed; those in "
            "the model's files are used",
            name,
        )
        return NOTHING_PUBLISHED
    return PublishedSettings(**read_or_look_up(name, _read_registry))


def _read_registry(name: str) -> dict[str, Any]:
    """Read the fields of `PublishedSettings` of which mteb says something."""
    registry = importlib.import_module("mteb.models.get_model_meta").MODEL_REGISTRY
    if name not in registry:
        return {}
    known = registry[name].loader_kwargs or {}
    template, document = _make_templates(name, known)
    return {
        "prompts": dict(known.get("model_prompts") or {}),
        "template": template,
        "document": document,
        "instructions": dict(known.get("prompts_dict") or {}),
        "append_eos": bool(known.get("add_eos_token")),
    }


def _make_templates(name: str, known: Mapping[str, Any]) -> tuple[str | None, str]:
    """Make the template of queries, and the prompt of every document."""
    template = known.get("instruction_template")
    if template is None:
        own = (of for start, of in _TEMPLATES.items() if name.startswith(start))
        return next(own, None), ""
    kinds = importlib.import_module("mteb.types").PromptType
    query, document = (_fill_instruction(template, kind) for kind in (kinds.query, kinds.document))
    if not known.get("apply_instruction_to_passages", True):
        document = ""
    if "{task}" in document:  # mteb's tasks have no instruction for documents
        document = ""
    template = query + "{query}"
    return (template if _is_template(template) else None), document


def _fill_instruction(template: Any, kind: Any) -> str:
    text = template("{instruction}", kind) if callable(template) else template
    return str(text).replace("{instruction}", "{task}")


def _is_template(template: str) -> bool:
    try:
        return find_template_names(template) == {"task", "query"}
    except ValueError:
        return False
