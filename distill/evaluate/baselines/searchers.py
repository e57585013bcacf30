"""Searches that need no vectors of their own, as mteb asks them (its SearchProtocol): BM25 over a
task's documents, and the hybrid of two rankings that are there already."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

from distill.errors import need
from distill.evaluate.baselines.rankings import NO_DOCUMENT, Rankings, make_falling_scores
from distill.recipe import BM25
from distill.recipe.sections.retriever import Language
from distill.retrieve.bm25 import BM25Index, build_bm25
from distill.retrieve.exact import NO_RESULT
from distill.retrieve.fusion import HYBRID_SAMPLE, HYBRID_WEIGHTS, rank_hybrid
from distill.retrieve.terms import TERMS_RULE, make_term_splitter
from distill.store.stage import fingerprint
from distill.tasks.texts import join_document

RetrievedScores = dict[str, dict[str, float]]
"""By query and document; for a query that finds nothing `NO_DOCUMENT` alone."""


class BM25Search:
    """BM25 over a task's documents, title and text. Words are those of the language that mteb
    states for the task, or else of the settings' language."""

    name = "distill/bm25"

    def __init__(self, settings: BM25) -> None:
        self._settings = settings
        self.revision = fingerprint("bm25", settings.model_dump() | {"terms": TERMS_RULE}, {})[:16]
        self._ids: list[str] = []
        self._index: BM25Index | None = None

    @property
    def mteb_model_meta(self) -> Any:
        """The model's description in mteb's form."""
        return build_search_meta(self.name, self.revision)

    def index(self, corpus: Any, *, task_metadata: Any, hf_subset: str, **kwargs: Any) -> None:
        """Index the documents of one split and language."""
        language = find_language(task_metadata, hf_subset) or self._settings.language
        texts = _DocumentTexts(corpus)
        self._ids = list(corpus["id"])
        terms = make_term_splitter(language)
        self._index = BM25Index(build_bm25(texts, self._settings, terms), terms)

    def search(self, queries: Any, *, top_k: int, **kwargs: Any) -> RetrievedScores:
        """Score the `top_k` best documents of each query, of those that share a word with it."""
        assert self._index is not None
        count = min(top_k, len(self._ids))
        results: RetrievedScores = {}
        for row in queries:
            (scores,), (places,) = self._index.search([row["text"]], count)
            by_document = {
                self._ids[place]: float(score)
                for score, place in zip(scores, places, strict=True)
                if place != NO_RESULT
            }
            results[row["id"]] = by_document or {NO_DOCUMENT: 0.0}
        return results


class FusedSearch:
    """The hybrid (`rank_hybrid`) of two rankings of the same task, a model's and BM25's.

    Args:
        name: mteb's name of the fusion's results, OWNER/MODEL.
        sources: what the rankings are of, so that results of others are not taken for these.
        read: gives the two rankings; called when the task is evaluated.
    """

    def __init__(
        self, name: str, sources: Mapping[str, Any], read: Callable[[], Sequence[Rankings]]
    ) -> None:
        self.name = name
        named = {**sources, "weights": HYBRID_WEIGHTS, "sample": HYBRID_SAMPLE}
        self.revision = fingerprint("fusion", named, {})[:16]
        self._read = read
        self._rankings: Sequence[Rankings] | None = None

    @property
    def mteb_model_meta(self) -> Any:
        """The model's description in mteb's form."""
        return build_search_meta(self.name, self.revision)

    def index(self, corpus: Any, **kwargs: Any) -> None:
        """Read both rankings."""
        self._rankings = self._rankings or self._read()

    def search(
        self, queries: Any, *, hf_split: str, hf_subset: str, top_k: int, **kwargs: Any
    ) -> RetrievedScores:
        """Fuse both rankings of each query; a tie goes to the one that the first ranks better."""
        assert self._rankings is not None
        dense, lexical = (rankings[f"{hf_split}/{hf_subset}"] for rankings in self._rankings)
        results: RetrievedScores = {}
        for query in queries["id"]:
            lists = [*dense[query].items()], [*lexical[query].items()]
            fused = [id_ for id_, _ in rank_hybrid(*lists, top_k)]
            results[query] = make_falling_scores(fused) or {NO_DOCUMENT: 0.0}
        return results


class _DocumentTexts(Sequence[str]):
    """A corpus' texts, one made at a time."""

    def __init__(self, corpus: Any) -> None:
        self._corpus = corpus

    def __len__(self) -> int:
        return len(self._corpus)

    def __getitem__(self, place: Any) -> Any:
        return join_document(self._corpus[place])


def find_language(task_metadata: Any, subset: str) -> Language | None:
    """Find the language that mteb states for a task, or for one of its subsets. None where it
    states none or several, or one without a Snowball stemmer."""
    stated = task_metadata.eval_langs
    codes = stated.get(subset, []) if isinstance(stated, Mapping) else stated
    if len(codes) != 1:
        return None
    names = need("mteb.languages", "eval").ISO_TO_LANGUAGE
    words = re.findall(r"\w+", names.get(codes[0].partition("-")[0], "").lower())
    languages: tuple[Language, ...] = get_args(Language)
    return next((language for language in languages if language in words), None)


def build_search_meta(name: str, revision: str) -> Any:
    """Build mteb's ModelMeta of a search that has no weights."""
    meta = need("mteb.models", "eval").ModelMeta
    return meta.create_empty(overwrites={"name": name, "revision": revision})
