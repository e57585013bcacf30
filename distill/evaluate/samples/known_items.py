"""The titles or sentences by which a run's task of known-item search looks for documents."""

from pathlib import Path
from typing import NamedTuple

from distill.corpus.held_out import KNOWN_ITEM
from distill.store.stage import open_stage


class KnownItemCounts(NamedTuple):
    """Queries that are titles, queries that are sentences, and passages that are searched."""

    titles: int
    sentences: int
    passages: int

    @property
    def are_mostly_sentences(self) -> bool:
        """Whether most queries are sentences: their words are missing in the documents that they
        ask for, which puts BM25 too low."""
        return self.sentences > self.titles


def read_known_item_counts(run_folder: Path) -> KnownItemCounts | None:
    """Read them of a run's task; None where it has none that is complete."""
    if not (run_folder / KNOWN_ITEM / ".stage" / "manifest.json").is_file():
        return None
    stage = open_stage(run_folder / KNOWN_ITEM)
    if not stage.complete:
        return None
    counts = stage.manifest["counts"]
    titles, sentences = counts.get("by title", 0), counts.get("by sentence", 0)
    return KnownItemCounts(titles, sentences, counts["searched passages"])
