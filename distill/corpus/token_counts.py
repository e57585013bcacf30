"""Count tokens by the tokenizer that `corpus.tokenizer` names."""

from pathlib import Path

from distill.corpus.split import TokenCount
from distill.errors import UserError
from distill.models.reference import identify_revision, resolve
from distill.recipe.sections.corpus import Corpus


def open_token_count(corpus: Corpus) -> TokenCount | None:
    """Open the tokenizer that measures passages; None where their tokens are estimated.

    Raises:
        UserError: if the model is not found, or has no tokenizer of the library `tokenizers`.
    """
    if corpus.tokenizer is None:
        return None
    from tokenizers import Tokenizer

    path = _find_tokenizer(corpus.tokenizer)
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as fault:  # the library raises nothing narrower
        raise UserError(str(path), f"cannot be read as a tokenizer: {fault}", _REMEDY) from fault
    # Files of encoders may cut texts off, or fill them up.
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def count_tokens(text: str) -> int:
        return len(tokenizer.encode(text, add_special_tokens=False).ids)

    return count_tokens


def list_length_settings(corpus: Corpus) -> dict[str, str | int]:
    """List what decides how long passages are, for the fingerprints of their stages."""
    settings: dict[str, str | int] = {
        "max_tokens": corpus.max_tokens,
        "min_words": corpus.min_words,
    }
    if corpus.tokenizer is not None:
        settings["tokenizer"] = identify_revision(corpus.tokenizer)
    return settings


def _find_tokenizer(reference: str) -> Path:
    folder = resolve(reference)
    files = sorted([*folder.glob("tokenizer.json"), *folder.glob("*/tokenizer.json")])
    if not files:
        raise UserError(f"corpus.tokenizer {reference!r}", "has no tokenizer.json", _REMEDY)
    return min(files, key=lambda path: len(path.parts))


_REMEDY = "name a model whose folder holds one, or leave corpus.tokenizer out: tokens are estimated"
