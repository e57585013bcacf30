"""Choose the documents of a corpus that are held out for evaluation."""

import hashlib
from pathlib import Path
from typing import Any

from distill.corpus.readers.rows import Document
from distill.errors import UserError
from distill.recipe import Corpus
from distill.store.integrity import read_manifest

HELD_OUT_PASSAGES = "passages-held-out"
"""The stage with the passages of the documents that are held out."""
JUDGED = "judged"
"""The evaluation task whose queries the LLM writes for them."""
KNOWN_ITEM = "known-item"
"""The evaluation task whose queries are their titles, or sentences taken out of them."""
HELD_OUT = "held-out"
"""The evaluation task of the held-out part of a corpus that has its own queries."""
OWN_TASKS = (HELD_OUT, JUDGED, KNOWN_ITEM)
"""Names of tasks that a run makes itself."""


SECTION_PASSAGES = 8
"""Passages in a row of a text without headings, or of a long section, that are held out together:
some four pages."""


def list_hold_out_settings(corpus: Corpus, seed: int) -> dict[str, Any]:
    """List what decides which documents are held out, for fingerprints."""
    settings = {"held_out": corpus.held_out_share, "seed": seed}
    by_document = corpus.hold_out_by == "document"
    return settings if by_document else settings | {"hold_out_by": corpus.hold_out_by}


def are_sections_held_out(run_folder: Path) -> bool:
    """Return whether a run holds sections of documents out, and not whole documents."""
    file = run_folder / HELD_OUT_PASSAGES / ".stage" / "manifest.json"
    if not file.is_file():
        return False
    return read_manifest(file)["settings"].get("hold_out_by") == "section"


def holds_documents_out(corpus: Corpus) -> bool:
    """Return whether whole documents are held out. Of docstrings objects are, by their summaries,
    before they are read."""
    return corpus.held_out_share > 0 and corpus.source != "docstrings"


def is_held_out(document: Document, piece: int, corpus: Corpus, seed: int) -> bool:
    """Return whether a piece of a document is held out, drawn by the seed and the document's id
    alone: so documents that are added later move no other one, and all sections of a file stay
    together. By section it is drawn by the id and by which run of pieces it belongs to."""
    whole = document.whole or document.id
    if corpus.hold_out_by == "section":
        whole = f"{document.id}#{piece // SECTION_PASSAGES}"
    digest = hashlib.sha256(f"{seed} {whole}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < corpus.held_out_share


def require_both_parts(
    where: str, corpus: Corpus, held_out: int, left: int, duplicates: int = 0
) -> None:
    """Refuse a corpus of which nothing is held out, or nothing is left.

    Args:
        duplicates: passages that were dropped because another reads the same.

    Raises:
        UserError: naming the key.
    """
    if held_out and left:
        return
    fault = "no passage is held out" if left else "every passage is held out"
    raise UserError(
        where,
        f"{fault}: corpus.held_out is {corpus.held_out_share:g}, and "
        f"{corpus.hold_out_by}s are held out whole"
        + (f"; {duplicates} passages are duplicates and do not count" if duplicates else ""),
        f"{'raise' if left else 'lower'} corpus.held_out, give more documents, or set it to 0",
    )
