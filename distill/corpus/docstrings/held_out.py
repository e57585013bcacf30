"""The stage `held-out`: the docstrings that are held out, as a retrieval task of the run's own."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from distill.corpus.docstrings.source import (
    QueryDocument,
    identify_docstrings,
    make_held_out_pairs,
)
from distill.corpus.held_out import HELD_OUT
from distill.corpus.token_counts import list_length_settings
from distill.errors import UserError
from distill.files.atomic import commit_bytes
from distill.recipe import Corpus
from distill.store.run import Run
from distill.store.stage import Stage


def make_held_out(run: Run, corpus: Corpus, seed: int) -> Stage | None:
    """Make the held-out docstrings as a BEIR folder (corpus.jsonl, queries.jsonl, qrels/test.tsv):
    the one-line summary asks, the rest of the docstring, without a title, answers. None where
    nothing is held out.

    Raises:
        UserError: if no held-out object gives a query and an answer.
    """
    if corpus.source != "docstrings" or not corpus.held_out_share:
        return None
    stage, prepared = run.open_prepared(
        HELD_OUT, fingerprint(corpus, seed), [], lambda: _pair_held_out(corpus, seed)
    )
    if prepared is not None:
        pairs, counts = prepared
        _write_beir(stage.folder, pairs)
        stage.finish(rows=len(pairs), counts=dict(counts))
    return stage


def fingerprint(corpus: Corpus, seed: int) -> dict[str, Any]:
    """Collect the settings that change which docstrings are held out, and what of them."""
    return {"source": identify_docstrings(corpus, seed), **list_length_settings(corpus)}


def _pair_held_out(corpus: Corpus, seed: int) -> tuple[list[QueryDocument], Counter[str]]:
    pairs, counts = make_held_out_pairs(corpus, seed)
    if not pairs:
        raise UserError(
            "the recipe",
            f"no held-out docstring has both a summary and a text ({dict(counts)})",
            "raise corpus.held_out, or name more corpus.packages",
        )
    return pairs, counts


def _write_beir(folder: Path, pairs: list[QueryDocument]) -> None:
    corpus = [{"_id": pair.name, "title": "", "text": pair.document} for pair in pairs]
    queries = [{"_id": f"q-{pair.name}", "text": pair.query} for pair in pairs]
    judged = [f"q-{pair.name}\t{pair.name}\t1" for pair in pairs]
    (folder / "qrels").mkdir(exist_ok=True)
    commit_bytes(
        folder / "corpus.jsonl", _join_lines(json.dumps(r, ensure_ascii=False) for r in corpus)
    )
    commit_bytes(
        folder / "queries.jsonl", _join_lines(json.dumps(r, ensure_ascii=False) for r in queries)
    )
    commit_bytes(
        folder / "qrels" / "test.tsv", _join_lines(["query-id\tcorpus-id\tscore", *judged])
    )


def _join_lines(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
