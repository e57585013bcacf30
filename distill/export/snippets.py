"""Write code that uses an exported model: with sentence-transformers, with transformers
alone, and with onnxruntime. Each leaves the vectors of one query and two passages."""

import json
import math
from collections.abc import Sequence
from typing import Any

import transformers
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from torch import nn
from transformers import MODEL_MAPPING

from distill.export.graph import OUTPUT
from distill.export.query_side.sides import (
    FOLDER,
    has_documents_side,
    has_two_sides,
    open_query_side,
)
from distill.models.sentence_transformer import find_text_transformer
from distill.recipe.sections.embedder import ALL_TOKENS

_QUERIES = ["how do bees tell others about flowers"]
_PASSAGES = [
    "Bees dance to tell other bees where the flowers are.",
    "A glacier is a slow river of ice that carves valleys as it moves.",
]
_MEAN = "(tokens * mask).sum(1) / mask.sum(1)"
_POOLING_CODE = {
    "right": {
        "mean": _MEAN,
        "cls": "tokens[:, 0]",
        "lasttoken": "tokens[torch.arange(len(texts)), mask.squeeze(2).sum(1).long() - 1]",
    },
    "left": {
        "mean": _MEAN,
        "cls": "tokens[torch.arange(len(texts)), -mask.squeeze(2).sum(1).long()]",
        "lasttoken": "tokens[:, -1]",
    },
}
"""By the side on which the tokenizer pads, and by pooling mode."""


def write_sentence_transformers_snippet(model: SentenceTransformer, name: str) -> str:
    """Write code that loads the model with sentence-transformers and embeds texts."""
    foreign = any(not type(m).__module__.startswith("sentence_transformers.") for m in model)
    # distill's own module is loaded by distill: no reader is asked to trust the code of a folder.
    loaded = (
        "from distill.models.reference import resolve\n"
        "from distill.models.sentence_transformer import load_sentence_model\n\n"
        f'model = load_sentence_model(resolve("{name}"))\n'
        if foreign
        else "from sentence_transformers import SentenceTransformer\n\n"
        f'model = SentenceTransformer("{name}")\n'
    )
    unit = "" if _has_unit_vectors(model) else ", normalize_embeddings=True"
    queries = f"{loaded}queries = model.encode_query({_write_list(_QUERIES)}{unit})\n"
    if not has_documents_side(model):
        return f"{queries}print(queries.shape)\n"
    return (
        f"{queries}passages = model.encode_document({_write_list(_PASSAGES)}{unit})\n"
        "print(queries @ passages.T)\n"
    )


def write_transformers_snippet(model: SentenceTransformer, name: str, on_hub: bool) -> str | None:
    """Write code that embeds texts with transformers; None if a module of the model is too long to
    write down."""
    first, *rest = model
    poolings = [m for m in rest if isinstance(m, Pooling)]
    denses = [m for m in rest if isinstance(m, Dense)]
    loader = _find_class(first)
    plain = loader is not None and len(poolings) == 1 and all(map(_is_expressible, rest))
    if not plain or not (poolings[0].include_prompt or not any(model.prompts.values())):
        return None
    pooling = _POOLING_CODE[model.tokenizer.padding_side][str(poolings[0].pooling_mode)]
    paths = [f"{number}_Dense" for number, m in enumerate(model) if isinstance(m, Dense)]
    return (
        "import torch\n"
        + _write_hub_import(on_hub)
        + ("from safetensors.torch import load_file\n" if denses else "")
        + f"from transformers import {', '.join(sorted(['AutoTokenizer', str(loader)]))}\n\n"
        + _write_folder_line(name, on_hub)
        + "tokenizer = AutoTokenizer.from_pretrained(folder)\n"
        f"model = {loader}.from_pretrained(folder, dtype=torch.float32).eval()\n"
        + "".join(f'dense_{p[0]} = load_file(f"{{folder}}/{p}/model.safetensors")\n' for p in paths)
        + "\n\ndef encode(texts, prompt):\n"
        "    texts = [prompt + text for text in texts]\n"
        "    batch = tokenizer(texts, padding=True, truncation=True, "
        f'max_length={get_max_tokens(model)}, return_tensors="pt")\n'
        "    with torch.inference_mode():\n"
        "        tokens = model(**batch).last_hidden_state\n"
        '    mask = batch["attention_mask"].unsqueeze(2).float()\n'
        f"    vectors = {pooling}\n"
        + "".join(map(_write_dense_line, denses, paths))
        + f"    return torch.nn.functional.normalize(vectors{_write_slice(model)}, dim=1)\n\n\n"
        + _write_encode_calls(model)
    )


def write_onnxruntime_snippet(
    model: SentenceTransformer, name: str, on_hub: bool, graph: str
) -> str:
    """Write code that embeds texts with onnxruntime and tokenizers alone."""
    session = f'session = onnxruntime.InferenceSession(f"{{folder}}/{graph}")\n'
    run = f'session.run(["{OUTPUT}"], feed)[0]'
    return _write_graph_snippet(model, name, on_hub, "onnxruntime", session, run)


def write_openvino_snippet(model: SentenceTransformer, name: str, on_hub: bool, graph: str) -> str:
    """Write code that embeds texts with OpenVINO and tokenizers alone."""
    compiled = f'compiled = openvino.Core().compile_model(f"{{folder}}/{graph}", "CPU")\n'
    return _write_graph_snippet(
        model, name, on_hub, "openvino", compiled, "compiled(feed)[0].copy()"
    )


def _write_graph_snippet(
    model: SentenceTransformer, name: str, on_hub: bool, library: str, load: str, run: str
) -> str:
    calls = _write_encode_calls(model)
    place = ""
    if has_two_sides(model):
        model, calls = open_query_side(model), _write_query_call(model)
        place = f"{FOLDER}/"
    tokenizer = model.tokenizer
    side = ', direction="left"' if tokenizer.padding_side == "left" else ""
    return (
        f"import numpy as np\nimport {library}\n"
        + _write_hub_import(on_hub)
        + "from tokenizers import Tokenizer\n\n"
        + _write_folder_line(name, on_hub)
        + f'tokenizer = Tokenizer.from_file(f"{{folder}}/{place}tokenizer.json")\n'
        f"tokenizer.enable_truncation({get_max_tokens(model)})\n"
        f"tokenizer.enable_padding(pad_id={tokenizer.pad_token_id}, "
        f'pad_token="{tokenizer.pad_token}"{side})\n'
        f"{load}\n\n"
        "def encode(texts, prompt):\n"
        "    batch = tokenizer.encode_batch([prompt + text for text in texts])\n"
        "    ids = np.array([text.ids for text in batch])\n"
        "    mask = np.array([text.attention_mask for text in batch])\n"
        '    feed = {"input_ids": ids, "attention_mask": mask}\n'
        f"    return {run}\n\n\n{calls}"
    )


def _has_unit_vectors(model: SentenceTransformer) -> bool:
    return model.truncate_dim is None and isinstance(model[-1], Normalize)


def _write_slice(model: SentenceTransformer) -> str:
    return "" if model.truncate_dim is None else f"[:, :{model.truncate_dim}]"


def get_max_tokens(model: SentenceTransformer) -> int:
    """Get the number of tokens of a text that the model reads."""
    length = model.max_seq_length or model.tokenizer.model_max_length
    if not math.isinf(length):
        return int(length)
    transformer = find_text_transformer(model)
    if transformer is not None and transformer.max_seq_length:
        return int(transformer.max_seq_length)
    # Token vectors have no positions: their tokenizer cuts a text off.
    truncation = getattr(model.tokenizer, "truncation", None) or {}
    return int(truncation.get("max_length", ALL_TOKENS))


def _find_class(module: nn.Module) -> str | None:
    """Find the class by which transformers opens a model's transformer again: of an encoder such
    as T5's, AutoModel would make the decoder too. None where transformers has no such class."""
    if not isinstance(module, Transformer):
        return None
    model: Any = module.auto_model
    opened = MODEL_MAPPING.get(type(model.config), ())
    if type(model) in (opened if isinstance(opened, tuple) else (opened,)):
        return "AutoModel"
    name = type(model).__name__
    return name if hasattr(transformers, name) else None


def _is_expressible(module: nn.Module) -> bool:
    if isinstance(module, Pooling):
        return module.pooling_mode in _POOLING_CODE["right"]
    if isinstance(module, Dense):
        activation = isinstance(module.activation_function, (nn.Identity, nn.Tanh))
        between = {module.module_input_name, module.module_output_name} == {"sentence_embedding"}
        return activation and between and not module.use_residual
    return isinstance(module, Normalize)


def _write_dense_line(dense: Any, path: str) -> str:
    weights = f"dense_{path[0]}"
    line = f'vectors @ {weights}["linear.weight"].T'
    line += f' + {weights}["linear.bias"]' if dense.bias else ""
    return f"    vectors = {f'torch.tanh({line})' if _is_tanh(dense) else line}\n"


def _is_tanh(dense: Any) -> bool:
    return isinstance(dense.activation_function, nn.Tanh)


def _write_folder_line(name: str, on_hub: bool) -> str:
    place = f"snapshot_download({json.dumps(name)})" if on_hub else json.dumps(name)
    return f"folder = {place}\n"


def _write_hub_import(on_hub: bool) -> str:
    return "from huggingface_hub import snapshot_download\n" if on_hub else ""


def _write_encode_calls(model: SentenceTransformer) -> str:
    query, document = (
        json.dumps(model.prompts.get(side) or "", ensure_ascii=False)
        for side in ("query", "document")
    )
    return (
        f"queries = encode({_write_list(_QUERIES)}, prompt={query})\n"
        f"passages = encode({_write_list(_PASSAGES)}, prompt={document})\n"
        "print(queries @ passages.T)\n"
    )


def _write_query_call(model: SentenceTransformer) -> str:
    prompt = json.dumps(model.prompts.get("query") or "", ensure_ascii=False)
    return f"queries = encode({_write_list(_QUERIES)}, prompt={prompt})\nprint(queries.shape)\n"


def _write_list(texts: Sequence[str]) -> str:
    lines = "".join(f"    {json.dumps(text)},\n" for text in texts)
    return f"[\n{lines}]" if len(texts) > 1 else f"[{json.dumps(texts[0])}]"
