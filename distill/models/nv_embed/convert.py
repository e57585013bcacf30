"""NV-Embed (arXiv 2405.17428) as released, v1 or v2 -> a sentence-transformers folder that runs
without the code in its repository.

Its files hold a Mistral under `embedding_model.` whose tokens see each other both ways, and a
latent attention under `latent_attention_model.`, which is `distill.models.latent_attention` under
other names. Names and shapes are held against what this builds, all of them: a file that has
another is refused.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import MistralConfig, MistralModel, PreTrainedTokenizerFast

from distill.errors import UserError
from distill.files.atomic import open_atomic_folder
from distill.models.end_of_sequence import append_eos, has_final_eos
from distill.models.latent_attention import LatentAttention
from distill.models.nv_embed.pooling import NvEmbedPooling
from distill.models.reference import identify_revision
from distill.models.sources.cache import get_cache_folder

MODEL_TYPE = "nvembed"
_TRANSFORMER, _LATENT = "embedding_model.", "latent_attention_model."
_BLOCKS = f"{_LATENT}cross_attend_blocks."
_NAMES = {
    f"{_LATENT}latents": "dictionary",
    f"{_BLOCKS}0.norm.weight": "norm_states.weight",
    f"{_BLOCKS}0.norm.bias": "norm_states.bias",
    f"{_BLOCKS}0.norm_context.weight": "norm_dictionary.weight",
    f"{_BLOCKS}0.norm_context.bias": "norm_dictionary.bias",
    f"{_BLOCKS}0.fn.to_q.weight": "to_query.weight",
    f"{_BLOCKS}0.fn.to_kv.weight": "to_key_value.weight",
    f"{_BLOCKS}0.fn.to_out.weight": "to_states.weight",
    f"{_BLOCKS}1.norm.weight": "norm_mlp.weight",
    f"{_BLOCKS}1.norm.bias": "norm_mlp.bias",
    f"{_BLOCKS}1.fn.net.0.weight": "up.weight",
    f"{_BLOCKS}1.fn.net.0.bias": "up.bias",
    f"{_BLOCKS}1.fn.net.2.weight": "down.weight",
    f"{_BLOCKS}1.fn.net.2.bias": "down.bias",
}
"""The latent attention's weights, as they are released and here."""
_OF_THE_CODE = ("model_type", "architectures", "auto_map", "_name_or_path", "is_causal")
"""Settings that belong to the released classes."""
_FAULTS = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RuntimeError,
    SafetensorError,
)
"""What files of another form, or damaged ones, come to."""


def convert_nv_embed(reference: str, folder: Path) -> Path:
    """Return the folder of the converted model, made once in the cache. It is as large as the
    released one, which is read a file at a time.

    Raises:
        UserError: if the files are not what is known of that model, or the cache has no room.
    """
    key = hashlib.sha256(f"nv-embed 1 {identify_revision(reference)}".encode()).hexdigest()[:32]
    target = get_cache_folder() / "safetensors" / key
    if target.exists():  # also in a cache that cannot be written
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_suffix(".lock")):
        if not target.exists():
            with open_atomic_folder(target) as beside:
                _convert(reference, folder, beside)
    return target


def _convert(reference: str, folder: Path, target: Path) -> None:
    files = sorted(folder.glob("*.safetensors"))
    size = sum(file.stat().st_size for file in files)
    if size > shutil.disk_usage(target.parent).free:
        raise UserError(
            str(target.parent),
            f"has no room for the converted weights: {size / 1e9:.1f} GB",
            "free some, or set DISTILL_CACHE to a folder on a larger disk",
        )
    try:
        config, latent = _read_configs(folder)
        with torch.device("meta"):
            transformer, attention = MistralModel(config), LatentAttention(**latent)
        tensors = _write_transformer(files, target)
        _expect_weights(tensors.shapes, transformer, "its transformer")
        # On the meta device nothing is held: the tensors take the places of the empty ones.
        attention.load_state_dict(tensors.latent, strict=True, assign=True)
        tokenizer = _read_tokenizer(folder)
    except _FAULTS as fault:
        raise UserError(
            f"model {reference!r}",
            f"is not NV-Embed as it is known here ({' '.join(str(fault).split())[:300]})",
            "name nvidia/NV-Embed-v2 with its safetensors and its tokenizer, or serve it and set "
            "base_url",
        ) from fault
    if (folder / "README.md").is_file():  # with its licence
        shutil.copyfile(folder / "README.md", target / "README.md")
    config.save_pretrained(target)
    tokenizer.save_pretrained(target)
    _write_modules(target, attention, config.hidden_size)


def _read_configs(folder: Path) -> tuple[MistralConfig, dict[str, int]]:
    """Read the transformer's configuration, and the sizes of the latent attention."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    own = {k: v for k, v in config["text_config"].items() if k not in _OF_THE_CODE}
    # The released class builds its mask from the padding alone: no window.
    text = MistralConfig(**{**own, "sliding_window": None, "use_cache": False})
    text.is_causal = False
    text.architectures = ["MistralModel"]
    latent = config["latent_attention_config"]
    sizes = {latent["hidden_dim"], latent["latent_dim"], latent["cross_dim_head"]}
    if sizes != {text.hidden_size}:
        raise ValueError(f"sizes {sorted(sizes)} of the latent attention, {text.hidden_size} wide")
    heads = {"latents": latent["num_latents_value"], "heads": latent["num_cross_heads"]}
    return text, {"width": text.hidden_size, **heads}


class _Tensors:
    """The shapes of the transformer's weights, and the latent attention's weights."""

    def __init__(self) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.latent: dict[str, Tensor] = {}


def _write_transformer(files: list[Path], target: Path) -> _Tensors:
    """Write the transformer's weights under a Mistral's names, one file for each."""
    tensors = _Tensors()
    index: dict[str, str] = {}
    for number, file in enumerate(files, start=1):
        name = f"model-{number:05d}-of-{len(files):05d}.safetensors"
        part: dict[str, Tensor] = {}
        for key, tensor in _iterate_tensors(file):
            if key.startswith(_TRANSFORMER):
                part[key.removeprefix(_TRANSFORMER)] = tensor
            elif key in _NAMES:
                tensors.latent[_NAMES[key]] = tensor
            else:
                raise ValueError(f"{file.name} holds {key!r}")
        if part:
            save_file(part, target / name, {"format": "pt"})
            tensors.shapes |= {key: tuple(tensor.shape) for key, tensor in part.items()}
            index |= dict.fromkeys(part, name)
    document = {"metadata": {}, "weight_map": index}
    (target / "model.safetensors.index.json").write_text(json.dumps(document), encoding="utf-8")
    return tensors


def _iterate_tensors(file: Path) -> Iterator[tuple[str, Tensor]]:
    with safe_open(file, "pt") as weights:
        for key in weights.keys():  # noqa: SIM118 (a file is no mapping)
            yield key, weights.get_tensor(key)


def _expect_weights(shapes: Mapping[str, tuple[int, ...]], module: nn.Module, what: str) -> None:
    wanted = {name: tuple(weight.shape) for name, weight in module.state_dict().items()}
    if dict(shapes) != wanted:
        differ = sorted(
            name for name in shapes.keys() | wanted.keys() if shapes.get(name) != wanted.get(name)
        )
        raise ValueError(f"{what} has other weights than expected: {', '.join(differ[:3])}, ...")


def _read_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Load the tokenizer with the released model's settings: padded on the right by the end of
    sequence, which also ends each text."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, trust_remote_code=False)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right"
    if not has_final_eos(tokenizer):
        append_eos(tokenizer)
    return tokenizer


def _write_modules(target: Path, attention: LatentAttention, width: int) -> None:
    """Write the files that sentence-transformers reads a model from."""
    pooling = NvEmbedPooling(width, "mean", include_prompt=False)
    types = ["sentence_transformers.models.Transformer"]
    for module in (attention, pooling):
        types.append(f"{type(module).__module__}.{type(module).__qualname__}")
        path = target / _make_path(len(types) - 1, types[-1])
        path.mkdir()
        module.save(str(path))
    types.append("sentence_transformers.models.Normalize")
    modules = [
        {"idx": n, "name": str(n), "path": _make_path(n, kind) if n else "", "type": kind}
        for n, kind in enumerate(types)
    ]
    (target / "modules.json").write_text(json.dumps(modules, indent=2), encoding="utf-8")


def _make_path(number: int, kind: str) -> str:
    return f"{number}_{kind.rpartition('.')[2]}"


def is_nv_embed(config: Mapping[str, Any]) -> bool:
    """Return whether a configuration is that of the released model."""
    return config.get("model_type") == MODEL_TYPE
