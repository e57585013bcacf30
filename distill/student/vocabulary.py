"""Vocabulary pruning: the tokens that a corpus does not have leave the tokenizer and the embedding
matrix, which is most of a small student.

A text made of kept tokens is tokenised as before. WordPiece takes the longest token that fits and
Unigram the likeliest path: where tokens are only taken away, what won before still wins. BPE merges
by rank, so the steps on the way to a kept token are kept with it, and the merges in their order.
"""

import json
import math
import re
import tempfile
from collections.abc import Iterable
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, NamedTuple

from sentence_transformers.sentence_transformer.modules import Transformer
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from distill.errors import UserError
from distill.student.base_model import get_text_tokenizer, reload_transformer

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_BATCH = 1000


class PrunedTokenizer(NamedTuple):
    """A tokenizer.json with fewer tokens, and the numbers that the `kept` ones had before, in the
    order of their new ones."""

    description: dict[str, Any]
    kept: list[int]


def prune_tokenizer(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str]) -> PrunedTokenizer:
    """Return the tokenizer with only the tokens of `texts`, the special ones, and all single
    characters and bytes, so that any text can still be tokenised.

    Raises:
        UserError: if it is not WordPiece, Unigram or BPE.
    """
    description = json.loads(_get_backend(tokenizer).to_str())
    used = _find_used_ids(tokenizer, texts)
    kept = sorted(_select_ids(description, used | set(tokenizer.all_special_ids)))
    _renumber(description, {old: new for new, old in enumerate(kept)})
    return PrunedTokenizer(description, kept)


def prune_vocabulary(transformer: Transformer, texts: Iterable[str]) -> Transformer:
    """Return the same transformer with fewer tokens (see `prune_tokenizer`)."""
    description, kept = prune_tokenizer(get_text_tokenizer(transformer), texts)
    number = {old: new for new, old in enumerate(kept)}
    _cut_rows(transformer.model, kept, number)
    with tempfile.TemporaryDirectory() as folder:
        transformer.save(folder)
        (Path(folder) / "tokenizer.json").write_text(
            json.dumps(description, ensure_ascii=False), encoding="utf-8"
        )
        return reload_transformer(Path(folder))


def _get_backend(tokenizer: PreTrainedTokenizerBase) -> Any:
    if not tokenizer.is_fast:
        raise _explain_unknown(type(tokenizer).__name__)
    return tokenizer.backend_tokenizer


def _find_used_ids(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str]) -> set[int]:
    used: set[int] = set()
    left = iter(texts)
    while some := list(islice(left, _BATCH)):
        for ids in tokenizer(some, add_special_tokens=False, truncation=False)["input_ids"]:
            used.update(ids)
    return used


def _select_ids(description: dict[str, Any], used: set[int]) -> set[int]:
    model = description["model"]
    vocabulary = _get_vocabulary(model)
    prefix = model.get("continuing_subword_prefix") or ""
    kept = {token for token, number in vocabulary.items() if number in used}
    if model["type"] == "BPE":
        kept |= _list_steps(model["merges"], kept)
    kept |= {token for token in vocabulary if len(token.removeprefix(prefix)) <= 1}
    kept |= {token for token in vocabulary if _BYTE.fullmatch(token)}
    kept.add(model.get("unk_token"))
    added = {token["id"] for token in description["added_tokens"]}
    return added | {number for token, number in vocabulary.items() if token in kept}


def _get_vocabulary(model: dict[str, Any]) -> dict[str, int]:
    """Return the vocabulary: token -> id."""
    if model["type"] == "Unigram":
        return {token: number for number, (token, _) in enumerate(model["vocab"])}
    marked = model.get("continuing_subword_prefix") or model.get("end_of_word_suffix")
    if model["type"] == "WordPiece" or (model["type"] == "BPE" and not marked):
        return dict(model["vocab"])
    raise _explain_unknown(f"{model['type']} with marked subwords" if marked else model["type"])


def _list_steps(merges: list[Any], tokens: Iterable[str]) -> set[str]:
    """Return what BPE passes through on its way to these tokens."""
    ranks = {pair: rank for rank, pair in enumerate(map(_split_merge, merges))}
    passed: set[str] = set()
    for token in tokens:
        parts = list(token)
        while len(parts) > 1:
            pairs = list(pairwise(parts))
            first = min(range(len(pairs)), key=lambda i: ranks.get(pairs[i], math.inf))
            if pairs[first] not in ranks:
                break
            parts[first : first + 2] = ["".join(pairs[first])]
            passed.add(parts[first])
    return passed


def _split_merge(merge: str | list[str]) -> tuple[str, str]:
    """Split a merge into its two parts; older files write it as one string."""
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right


def _cut_rows(model: PreTrainedModel, kept: list[int], number: dict[int, int]) -> None:
    """Keep these rows of the embedding matrix, and let the configuration know the new numbers."""
    embedding: Any = model.get_input_embeddings()
    embedding.weight = nn.Parameter(embedding.weight.data[kept])
    embedding.num_embeddings = len(kept)
    model.tie_weights()
    config = model.config.get_text_config()
    config.vocab_size = len(kept)
    for key, value in config.to_dict().items():
        if key.endswith("_token_id") and isinstance(value, int):
            setattr(config, key, number.get(value))
        elif key.endswith("_token_id") and isinstance(value, list):
            setattr(config, key, [number[i] for i in value if i in number])


def _renumber(description: dict[str, Any], number: dict[int, int]) -> None:
    """Write the new numbers, wherever tokenizer.json has the old ones, in place."""
    _renumber_model(description["model"], number)
    for token in description["added_tokens"]:
        token["id"] = number[token["id"]]
    if description.get("padding"):
        description["padding"]["pad_id"] = number[description["padding"]["pad_id"]]
    if description.get("post_processor"):
        _renumber_processor(description["post_processor"], number)


def _renumber_model(model: dict[str, Any], number: dict[int, int]) -> None:
    if model["type"] == "Unigram":
        model["vocab"] = [entry for old, entry in enumerate(model["vocab"]) if old in number]
        if model["unk_id"] is not None:
            model["unk_id"] = number[model["unk_id"]]
        return
    kept = {token: number[old] for token, old in model["vocab"].items() if old in number}
    model["vocab"] = kept
    if model["type"] == "BPE":
        model["merges"] = [
            merge
            for merge in model["merges"]
            if all(token in kept for token in (*_split_merge(merge), "".join(_split_merge(merge))))
        ]


def _renumber_processor(processor: dict[str, Any], number: dict[int, int]) -> None:
    for inner in processor.get("processors", []):
        _renumber_processor(inner, number)
    for end in {"sep", "cls"} & processor.keys():
        token, old = processor[end]
        processor[end] = [token, number[old]]
    for special in processor.get("special_tokens", {}).values():
        special["ids"] = [number[old] for old in special["ids"]]


def _explain_unknown(kind: str) -> UserError:
    return UserError(
        "student.vocabulary 'corpus'",
        f"the encoder's tokenizer is of a kind ({kind}) whose tokens cannot be taken out",
        "set student.vocabulary: all, or take an encoder with a WordPiece, Unigram or BPE "
        "tokenizer.json",
    )
