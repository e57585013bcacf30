"""The tokenizer of a static student, and how often its tokens occur in texts."""

import json
import math
from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import torch
from scipy.sparse import csr_array
from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from distill.errors import UserError
from distill.models.causal_lm import make_model_folder
from distill.models.sentence_transformer import find_transformer_folder, has_vocabulary
from distill.recipe import Student
from distill.student.vocabulary import prune_tokenizer

_BATCH = 1000


def load_tokenizer(student: Student) -> PreTrainedTokenizerBase:
    """Load the tokenizer of `student.encoder`, whose weights are not read.

    Raises:
        UserError: if there is none, or none of the library `tokenizers`.
    """
    folder = find_transformer_folder(make_model_folder(student.encoder, torch.float32))
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError) as fault:
        raise _refuse(student, f"its tokenizer cannot be read ({fault})") from fault
    if not tokenizer.is_fast or not has_vocabulary(tokenizer):
        raise _refuse(student, "its folder has no tokenizer.json")
    return tokenizer


def make_tokenizer(student: Student, texts: Iterable[str] | None) -> Tokenizer:
    """Make the tokenizer that a static student is saved with: without padding, and cutting off what
    exceeds `student.max_tokens`.

    Args:
        texts: whose tokens are kept; None: all tokens are.
    """
    tokenizer = load_tokenizer(student)
    if texts is None:
        made = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    else:
        made = Tokenizer.from_str(json.dumps(prune_tokenizer(tokenizer, texts).description))
    made.no_padding()
    made.enable_truncation(student.max_tokens)
    return made


def count_tokens(tokenizer: Tokenizer, texts: Iterable[str]) -> csr_array:
    """Count tokens, (texts, tokens) float64: how often each token stands in a text, over the root
    of the text's number of tokens. The sum of vectors that point anywhere grows with that root:
    long and short texts count alike. A text without tokens is a row of zeros."""
    columns, values, starts = [np.zeros(0, np.int32)], [np.zeros(0)], [0]
    for ids in _encode(tokenizer, texts):
        tokens, counts = np.unique(np.asarray(ids, np.int32), return_counts=True)
        columns.append(tokens)
        values.append(counts / math.sqrt(max(1, len(ids))))
        starts.append(starts[-1] + len(tokens))
    shape = (len(starts) - 1, count_vectors(tokenizer))
    return csr_array((np.concatenate(values), np.concatenate(columns), starts), shape)


def count_vectors(tokenizer: Tokenizer) -> int:
    """Count how many token vectors a tokenizer needs: some leave numbers out."""
    return max(tokenizer.get_vocab().values()) + 1


def _encode(tokenizer: Tokenizer, texts: Iterable[str]) -> Iterator[list[int]]:
    left = iter(texts)
    while some := list(islice(left, _BATCH)):
        for encoding in tokenizer.encode_batch(some, add_special_tokens=False):
            yield encoding.ids


def find_unknown_token(tokenizer: Tokenizer) -> int | None:
    """Find the number of the token that stands for all words that the tokenizer does not know."""
    model = json.loads(tokenizer.to_str())["model"]
    if isinstance(number := model.get("unk_id"), int):
        return number
    name = model.get("unk_token")
    return None if name is None else tokenizer.token_to_id(name)


def spell_tokens(tokenizer: Tokenizer, numbers: Iterable[int]) -> list[str]:
    """Spell each token as a text of its own, empty for special tokens and for parts of a
    character."""
    description = json.loads(tokenizer.to_str())
    prefix = description["model"].get("continuing_subword_prefix") or ""
    special = {token["id"] for token in description["added_tokens"]}
    return ["" if number in special else _spell(tokenizer, number, prefix) for number in numbers]


def _spell(tokenizer: Tokenizer, number: int, prefix: str) -> str:
    token = tokenizer.id_to_token(number) or ""
    if prefix and token.startswith(prefix):
        return token.removeprefix(prefix)
    text: str = tokenizer.decode([number]).strip()
    return "" if "�" in text else text


def _refuse(student: Student, what: str) -> UserError:
    return UserError(
        f"student.encoder {student.encoder!r}",
        what,
        "name a model with a tokenizer.json, whose tokens the static student is to have",
    )
