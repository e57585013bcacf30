"""Let each text end in the end-of-sequence token, which pooling of the last token reads."""

from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerBase


def has_final_eos(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether a tokenized text ends in the end of sequence, or in BERT's separator."""
    ids = tokenizer("text")["input_ids"]
    return bool(ids) and ids[-1] in (tokenizer.eos_token_id, tokenizer.sep_token_id)


def append_eos(tokenizer: PreTrainedTokenizerBase) -> None:
    """Let every text, also a truncated one, end in the end of sequence, in place. The
    post-processor is saved with the tokenizer.

    Raises:
        ValueError: if the tokenizer has no end of sequence, or is none of the library `tokenizers`.
    """
    end, backend = tokenizer.eos_token, getattr(tokenizer, "backend_tokenizer", None)
    if end is None:
        raise ValueError("its tokenizer has no end of sequence")
    if backend is None:
        raise ValueError("its tokenizer cannot be told to append an end of sequence")
    special = set(tokenizer.all_special_ids)
    numbers = [number for number in tokenizer("")["input_ids"] if number in special]
    begin = tokenizer.convert_ids_to_tokens(numbers)
    backend.post_processor = TemplateProcessing(
        single=[*begin, "$A", end],
        pair=[*begin, "$A", end, "$B:1", f"{end}:1"],
        special_tokens=[(end, tokenizer.eos_token_id), *zip(begin, numbers, strict=True)],
    )
