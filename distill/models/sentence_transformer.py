"""A sentence-transformers folder -> a model, running no code that came with the folder and reading
no pickle."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from sentence_transformers.util import batch_to_device
from transformers import PreTrainedTokenizerBase
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from distill.errors import UserError, quote_fault
from distill.files.atomic import read_json, write_json
from distill.models.latent_attention import LatentAttention
from distill.models.missing_weights import list_missing_weights
from distill.models.nv_embed.pooling import NvEmbedPooling
from distill.models.remote_code import find_needed_code
from distill.runtime.out_of_memory import is_out_of_memory, name_too_large

_OWN_MODULES = {
    f"{module.__module__}.{module.__qualname__}": module
    for module in (LatentAttention, NvEmbedPooling)
} | {
    # The names in the modules.json of folders that earlier versions saved.
    "distill.student.latent_attention.LatentAttention": LatentAttention,
    "distill.nv_embed.pooling.NvEmbedPooling": NvEmbedPooling,
}
ADAPTER = "adapter_config.json"
"""The settings of an adapter, in its folder, with the path of its base."""
_CHOOSE = "name a sentence-transformers model in safetensors, or a text encoder with its tokenizer"


def load_sentence_model(
    folder: Path, device: str | None = None, **options: Any
) -> SentenceTransformer:
    """Load a sentence-transformers folder, also with distill's own modules, limited to as many
    tokens as the model has positions for.

    The library itself imports a class of another package only where all code is trusted; here the
    class is the installed one, and a folder that names any other is refused. Weights are read from
    safetensors alone.

    Raises:
        OSError, ValueError and others: if it is no such folder; `open_sentence_model` says what a
            person can do.
    """
    refuse_pickles(folder)
    model_kwargs = {"use_safetensors": True, **options.pop("model_kwargs", {})}
    with find_moved_base(folder, folder.resolve().parent / "base") as whole:
        model = SentenceTransformer._load_with_module_classes(
            str(whole),
            _OWN_MODULES,
            device=device,
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs=model_kwargs,
            **options,
        )
    _keep_to_positions(model)
    return model


@contextmanager
def find_moved_base(folder: Path, base: Path) -> Iterator[Path]:
    """Give a folder that loads as this one. An adapter names its base by the path that this had in
    training; where that is gone, as in a run that was moved, the files are read from a copy of
    links that names `base`, if it is there."""
    settings = read_settings(folder, ADAPTER)
    named = Path(str(settings.get("base_model_name_or_path", "")))
    if not named.is_absolute() or named.exists() or not base.is_dir():
        yield folder
        return
    with TemporaryDirectory() as place:
        links = Path(place)
        for path in folder.resolve().iterdir():
            if path.name != ADAPTER:
                (links / path.name).symlink_to(path)
        write_json(links / ADAPTER, settings | {"base_model_name_or_path": str(base)})
        yield links


def open_sentence_model(
    reference: str, folder: Path, device: str | None = None, **options: Any
) -> SentenceTransformer:
    """Load a model that a person named, and embed one text to test it.

    Raises:
        UserError: if it is no embedder that loads without code of its own, for whatever reason.
    """
    where = f"model {reference!r}"
    _check_kind(where, folder)
    try:
        with name_too_large(where):
            model = load_sentence_model(folder, device, **options)
        model.eval()
        transformer = find_text_transformer(model)
        tokenizer = None if transformer is None else transformer.tokenizer
        if tokenizer is not None and not has_vocabulary(tokenizer):
            raise ValueError("its folder has no tokenizer")
        if transformer is not None:
            refuse_missing_weights(transformer, folder)
        vector = _embed_one(model)
    except Exception as fault:  # libraries raise anything for a damaged file
        if is_out_of_memory(fault):
            raise
        raise _explain_no_model(where, folder, fault) from fault
    if not torch.isfinite(vector).all():
        raise UserError(
            where,
            f"embeds a text as a vector that is not finite, in {model.dtype}",
            "set dtype: float32 or bfloat16, or name another model",
        )
    return model


def count_positions(transformer: Transformer) -> int | None:
    """Return how many tokens a model has learnt positions for; None if it computes them.

    RoBERTa and its kin count from behind the padding's number, so that two of the positions in
    their configuration are never a token's.
    """
    for module in transformer.model.modules():
        table = getattr(module, "position_embeddings", None)
        if isinstance(table, torch.nn.Embedding):
            padding = getattr(module, "padding_idx", None)
            return table.num_embeddings - (padding + 1 if isinstance(padding, int) else 0)
    return None


def find_text_transformer(model: SentenceTransformer) -> Transformer | None:
    """Return the first module that reads tokens; None for a model of word vectors."""
    return next((module for module in model.modules() if isinstance(module, Transformer)), None)


def are_prompts_pooled(model: SentenceTransformer) -> bool:
    """Return whether a model's prompts are part of its vectors as any other words are."""
    return all(m.include_prompt for m in model.modules() if isinstance(m, Pooling))


def get_query_modules(model: SentenceTransformer) -> torch.nn.Module:
    """Return the modules that embed queries: the query route of a Router, else the whole model."""
    first = model[0]
    return first.sub_modules["query"] if isinstance(first, Router) else model


def release_documents(model: SentenceTransformer | None) -> None:
    """Free the weights of a Router's document route, where another model embeds the documents: its
    teacher, which may be large, would be in memory twice. Of the route its settings are left."""
    first = None if model is None else model[0]
    if isinstance(first, Router) and "document" in first.sub_modules:
        for weight in first.sub_modules["document"].parameters():
            weight.data = weight.data.new_empty(0)  # not on the meta device, which it never leaves


def read_settings(folder: Path, name: str) -> dict[str, Any]:
    """Read a JSON file of the transformer in a model's folder; empty if it cannot be read."""
    settings = _read_any(find_transformer_folder(folder) / name)
    return settings if isinstance(settings, dict) else {}


def read_prompts(folder: Path) -> dict[str, str]:
    """Read the prompts in a model's files, by name."""
    try:
        prompts = _read_any(folder / "config_sentence_transformers.json")["prompts"]
        return {str(name): str(prompt) for name, prompt in prompts.items() if prompt}
    except (LookupError, TypeError, AttributeError):
        return {}


def are_prompts_left_out(folder: Path) -> bool:
    """Return whether a model's files say that its vectors leave its prompts out."""
    settings = (_read_any(path) for path in folder.rglob("config.json"))
    return any(isinstance(of, dict) and of.get("include_prompt") is False for of in settings)


def find_transformer_folder(folder: Path) -> Path:
    """Return the folder of the transformer's files within a model's folder."""
    try:
        return folder / str(_read_any(folder / "modules.json")[0]["path"])
    except (LookupError, TypeError):
        return folder


def _read_any(path: Path) -> Any:
    """Read the value of a JSON file that came with a model; None if it cannot be read: the model's
    loader reports that."""
    try:
        return read_json(path)
    except (OSError, UserError):
        return None


@torch.inference_mode()
def _embed_one(model: SentenceTransformer) -> torch.Tensor:
    """Return the vector of a text, (1, dimensions), as the modules give it."""
    features = batch_to_device(model.preprocess(["text"], task="query"), model.device)
    vector: torch.Tensor = model.forward(features, task="query")["sentence_embedding"]
    return vector


def has_vocabulary(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether the tokenizer is more than the empty one that transformers makes for a folder
    without one."""
    return len(tokenizer) > len(set(tokenizer.all_special_ids))


def refuse_missing_weights(transformer: Transformer, folder: Path) -> None:
    """Refuse a model whose files lack weights.

    Raises:
        ValueError: naming the first of the weights that the folder lacks.
    """
    missing = list_missing_weights(transformer, find_transformer_folder(folder))
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ValueError(f"its files lack the weights {missing[0]}{more}")


def refuse_pickles(folder: Path) -> None:
    """Refuse a model of which a module other than the transformer is a pickle.

    Raises:
        ValueError: naming a file that a module other than the transformer would be read from.
    """
    for path in folder.rglob("pytorch_model*.bin"):
        if not any(path.parent.glob("*.safetensors")):
            raise ValueError(f"{path.relative_to(folder)} is a pickle, which is never read")


def _keep_to_positions(model: SentenceTransformer) -> None:
    for module in model.modules():
        if isinstance(module, Transformer) and (most := count_positions(module)) is not None:
            module.max_seq_length = min(module.max_seq_length or most, most)


def _check_kind(where: str, folder: Path) -> None:
    """Refuse what loads but is no embedder."""
    if folder.suffix == ".gguf":
        raise UserError(where, "is a GGUF file of a language model, not an embedder", _CHOOSE)
    if (folder / "modules.json").is_file():
        return
    config = read_settings(folder, "config.json")
    kind = str(config.get("model_type"))
    causal = kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    if causal and kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        raise UserError(
            where,
            f"is a language model ({kind}), and nothing in its folder says how its tokens' states "
            "become a vector",
            "name an embedder, whose folder has modules.json; a student is made of a language "
            "model by student.encoder and student.pooling",
        )
    architectures = config.get("architectures")
    names = architectures if isinstance(architectures, list) else []
    if any(str(name).endswith("ForSequenceClassification") for name in names):
        raise UserError(where, "scores texts or pairs of them, and embeds none", _CHOOSE)


def _explain_no_model(where: str, folder: Path, fault: Exception) -> UserError:
    if code := find_needed_code(find_transformer_folder(folder), fault):
        return UserError(
            where,
            code,
            "name a model that sentence-transformers and transformers know themselves, or serve "
            "this one and set base_url",
        )
    if not any(folder.rglob("*.safetensors")) and any(folder.rglob("*.bin")):
        return UserError(
            where,
            "holds pickled weights alone, which are never read",
            "convert them to safetensors where you trust them, and name that folder",
        )
    return UserError(
        where,
        f"does not load as a sentence-transformers model ({type(fault).__name__}: "
        f"{quote_fault(fault)})",
        _CHOOSE,
    )
