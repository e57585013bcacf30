"""Texts as token numbers: each distinct text is tokenised once, before training, and lies on disk.
The datasets hold the texts' numbers, and a batch is padded from here."""

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer

from distill.files.atomic import open_atomic_folder
from distill.files.checksums import discard_if_damaged, write_checksums
from distill.runtime.progress import Progress
from distill.student.pooling import count_prompt_tokens
from distill.text.format import PromptedText

_AT_ONCE = 1024
_COMPARED = 16
"""Texts of a folder that are compared before it is used again."""
_log = logging.getLogger(__name__)


class TokenizedTexts:
    """The tokens of numbered texts, as a model's own tokenizer makes them.

    Args:
        folder: where they lie, or will: computed again if they are not there whole, or are of other
            texts, as far as their number and a few texts show. A changed recipe or corpus has a
            folder of its own; another version of distill may number or write texts differently.
        texts: as the model reads them, a prompt and what follows it.
    """

    def __init__(
        self, folder: Path, model: SentenceTransformer, texts: Sequence[PromptedText]
    ) -> None:
        discard_if_damaged(folder)
        if folder.exists() and not _has_texts(folder, model, texts):
            _log.warning("%s has the tokens of other texts: it is made again", folder)
            shutil.rmtree(folder)
        if not folder.exists():
            with open_atomic_folder(folder) as beside:
                _write(beside, model, texts)
        self.flat = np.memmap(folder / "tokens.int32", np.int32, "r")
        self.starts = np.load(folder / "starts.npy")
        self.lengths = np.diff(self.starts)
        self.prompts = np.load(folder / "prompts.npy")
        self.padding = int(getattr(model.tokenizer, "pad_token_id", None) or 0)
        self.left = getattr(model.tokenizer, "padding_side", None) == "left"

    def collate(self, numbers: Sequence[int], **_: Any) -> dict[str, Any]:
        """Return what the model's `preprocess` makes of these texts: a batch, padded to its
        longest.

        Prompts are tokens of their texts; how many, `prompt_length` says, (texts,). The further
        arguments are a data collator's.
        """
        lengths = self.lengths[list(numbers)]
        shape = (len(lengths), int(lengths.max(initial=1)))
        ids, mask = np.full(shape, self.padding), np.zeros(shape, np.int64)
        for row, (number, length) in enumerate(zip(numbers, lengths, strict=True)):
            place = slice(shape[1] - length, None) if self.left else slice(length)
            start = self.starts[number]
            ids[row, place] = self.flat[start : start + length]
            mask[row, place] = 1
        return {
            "input_ids": torch.from_numpy(ids),
            "attention_mask": torch.from_numpy(mask),
            "prompt_length": torch.from_numpy(self.prompts[list(numbers)]),
            "modality": "text",
        }


def _has_texts(folder: Path, model: SentenceTransformer, texts: Sequence[PromptedText]) -> bool:
    """Return whether a folder holds as many texts, and some of these as they are tokenized now."""
    starts, prompts = np.load(folder / "starts.npy"), np.load(folder / "prompts.npy")
    if len(starts) - 1 != len(texts):
        return False
    flat = np.memmap(folder / "tokens.int32", np.int32, "r")
    numbers = np.unique(np.linspace(0, len(texts) - 1, min(_COMPARED, len(texts)), dtype=np.int64))
    some = [texts[number] for number in numbers.tolist()]
    tokens = _tokenize(model.tokenizer, [prompt + text for prompt, text in some])
    return all(
        flat[starts[number] : starts[number + 1]].tolist() == row
        and prompts[number] == _count_prompt(model.tokenizer, text.prompt)
        for number, text, row in zip(numbers.tolist(), some, tokens, strict=True)
    )


def _write(folder: Path, model: SentenceTransformer, texts: Sequence[PromptedText]) -> None:
    lengths: list[int] = []
    with (
        Progress("tokenise", len(texts), "texts") as progress,
        (folder / "tokens.int32").open("wb") as file,
    ):
        for start in range(0, len(texts), _AT_ONCE):
            some = [prompt + text for prompt, text in texts[start : start + _AT_ONCE]]
            for row in _tokenize(model.tokenizer, some):
                file.write(np.array(row, np.int32).tobytes())
                lengths.append(len(row))
            progress.advance(len(some))
    np.save(folder / "starts.npy", np.cumsum([0, *lengths]))
    of_prompt = {
        prompt: _count_prompt(model.tokenizer, prompt) for prompt in {text.prompt for text in texts}
    }
    np.save(folder / "prompts.npy", np.array([of_prompt[text.prompt] for text in texts], np.int64))
    write_checksums(folder)


def _tokenize(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """Tokenize as sentence-transformers does: token vectors have no special tokens around a
    text."""
    if isinstance(tokenizer, Tokenizer):
        return [row.ids for row in tokenizer.encode_batch(texts, add_special_tokens=False)]
    ids: list[list[int]] = tokenizer(texts, truncation="longest_first")["input_ids"]
    return ids


def _count_prompt(tokenizer: Any, prompt: str) -> int:
    """Count a prompt's tokens; in a mean of token vectors they are words like any other."""
    return 0 if isinstance(tokenizer, Tokenizer) else count_prompt_tokens(tokenizer, prompt)
