"""Open a published embedder as it was published: one way for the retriever, the teacher and
evaluated models."""

from dataclasses import dataclass
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Transformer

from distill.embed.last_token import set_end_of_sequence
from distill.embed.published import PublishedSettings, look_up_published
from distill.embed.wording import EmbedderPrompts, choose_prompts
from distill.models.attention_check import set_attention
from distill.models.nv_embed.convert import convert_nv_embed, is_nv_embed
from distill.models.reference import identify_revision, resolve
from distill.models.sentence_transformer import (
    are_prompts_pooled,
    find_text_transformer,
    open_sentence_model,
    read_settings,
)
from distill.recipe.sections.embedder import ALL_TOKENS, EmbedderConfig
from distill.runtime.devices import (
    DTYPES,
    check_device,
    choose_device,
    free_gpu_memory,
    get_torch_dtype,
)
from distill.store.local_name import name_model

UNTITLED_MARK = {"untitled_prompt": "left out"}
"""Part of the identity of a model that leaves its prompts out and writes titles: earlier versions
left less out of documents without one, and their vectors are not to be found."""


@dataclass(frozen=True)
class OpenModel:
    """A model that has passed its checks. `folder` holds the files that were loaded; `departures`
    name the settings by which it computes other vectors than those files do by themselves."""

    reference: str
    revision: str
    folder: Path
    model: SentenceTransformer
    wording: EmbedderPrompts
    published: PublishedSettings
    departures: dict[str, str | int]
    all_tokens: int | None
    max_tokens: int | None

    @property
    def identity(self) -> dict[str, str | int]:
        """Everything beside a whole text that changes its vector."""
        return {
            "model": name_model(self.reference),
            "revision": self.revision,
            "max_tokens": self.max_tokens or "all",
            **self.departures,
        }


def open_model(reference: str, settings: EmbedderConfig) -> OpenModel:
    """Load a model by its reference.

    What its own code would have done and transformers does not is done (the end of sequence, the
    attention of a decoder), where its files, the settings or what is known of it say so; then it is
    tried.

    Raises:
        UserError: if it is not available, is no embedder, or does not do as it was published to.
    """
    check_device(settings.device, settings.name_key("device"))
    folder = resolve(reference)
    if folder.is_dir() and is_nv_embed(read_settings(folder, "config.json")):
        folder = convert_nv_embed(reference, folder)
    published = look_up_published(reference, settings)
    dtype = choose_dtype(settings.dtype, settings.device)
    free_gpu_memory()  # of models of earlier stages
    model = open_sentence_model(
        reference, folder, settings.device, model_kwargs={"dtype": DTYPES[dtype]}
    )
    model.to(DTYPES[dtype])  # modules behind the transformer are loaded in their own
    departures: dict[str, str | int] = {} if dtype == "float32" else {"dtype": dtype}
    if set_attention(model, reference, settings):
        departures["attention"] = "bidirectional"
    if set_end_of_sequence(model, reference, settings, published, folder):
        departures["append_eos"] = 1
    all_tokens = find_max_tokens(model)
    max_tokens = all_tokens
    if find_text_transformer(model) is not None and settings.max_tokens < (
        all_tokens or ALL_TOKENS
    ):
        max_tokens = settings.max_tokens
        _shorten(model, max_tokens)
    wording = choose_prompts(settings, reference, list_carried_prompts(model), published)
    if wording.titled is not None and not are_prompts_pooled(model):
        departures |= UNTITLED_MARK
    return OpenModel(
        reference,
        identify_revision(reference),
        folder,
        model,
        wording,
        published,
        departures,
        all_tokens,
        max_tokens,
    )


def _shorten(model: SentenceTransformer, max_tokens: int) -> None:
    """Let no transformer read more tokens; a Router's query side may read fewer as it is."""
    for module in model.modules():
        if isinstance(module, Transformer):
            module.max_seq_length = min(module.max_seq_length or max_tokens, max_tokens)


def list_carried_prompts(model: SentenceTransformer) -> dict[str, str]:
    """Return the prompts in a model's configuration, by name."""
    return {name: prompt for name, prompt in model.prompts.items() if prompt is not None}


def find_max_tokens(model: SentenceTransformer) -> int | None:
    """Return how many tokens of a text a model reads; None: all."""
    length = model.max_seq_length
    return None if length is None or length > _ENDLESS else int(length)


_ENDLESS = 10**8
"""Tokenizers that know no limit give a number beyond any text."""


def choose_dtype(name: str, device: str | None) -> str:
    """Return the dtype to compute in. `auto` is bfloat16 on a GPU that computes it natively, and
    float32 elsewhere."""
    if name != "auto":
        return name
    device = device or choose_device()
    on_gpu = device.startswith("cuda")
    return "bfloat16" if on_gpu and get_torch_dtype("auto", device) is torch.bfloat16 else "float32"
