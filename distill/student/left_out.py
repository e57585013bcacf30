"""Describe what a student does not take over from the embedder that it is made from: the base is
then another model than the one that the recipe names."""

import logging
from collections.abc import Iterator

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

from distill.models.latent_attention import LatentAttention
from distill.models.reference import resolve
from distill.recipe import Student

_logger = logging.getLogger(__name__)

_POOLINGS = {"mean": "mean", "cls": "cls", "lasttoken": "last"}
"""sentence-transformers' names, and those of `student.pooling`."""


def warn_of_left_out_parts(encoder: SentenceTransformer, student: Student) -> None:
    """Warn of each module and prompt that the student has not, with the setting that keeps it."""
    if not (resolve(student.encoder) / "modules.json").is_file():
        return  # a bare transformer, on which sentence-transformers puts a pooling
    for line in find_left_out_parts(encoder, student):
        _logger.warning("student.encoder %s: %s", student.encoder, line)


def find_left_out_parts(encoder: SentenceTransformer, student: Student) -> Iterator[str]:
    """Yield a line for each."""
    poolings = [module for module in encoder.modules() if isinstance(module, Pooling)]
    mode = poolings[0].pooling_mode if poolings else None
    latent = any(isinstance(module, LatentAttention) for module in encoder.modules())
    own = "latent" if latent else _POOLINGS.get(str(mode), str(mode))
    if own != student.pooling:
        remedy = f"; student.pooling: {own} keeps it" if own in _POOLINGS.values() else ""
        yield f"it pools by {own}, and the student by {student.pooling}{remedy}"
    for module in encoder:
        if not isinstance(module, Transformer | Pooling | Normalize | LatentAttention):
            yield (
                f"its {type(module).__name__} module is left out; student.dimensions trains a new "
                "linear layer"
            )
    if latent:
        yield "its latent attention starts untrained"
    prompts_kept = student.text_format.make_prompts(student.default_task)
    for name, prompt in encoder.prompts.items():
        if prompt and prompt not in prompts_kept.values():
            side = "document_template" if name in ("document", "passage") else "query_template"
            yield f"its prompt {name!r}, {prompt!r}, is left out; student.{side} may hold it"
