"""Judging candidates, QL and RC, as `distill relabel` does (by passage, the few-shot header and the
passage computed once) against one full prompt a pair and ranker on the same transformers model: as
many queries as passages, 20 candidates each, cacm's texts. Prints one JSON line.

    python benchmarks/relabel.py --quick

Ours are the stages themselves, on all pairs; the peer, which is slow, judges all candidates of a
few queries, and on these the scores and the ranks are compared. Each round has passages of its own.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from distill.embed.encoder import Encoder
from distill.embed.open_embedder import load_encoder
from distill.llm.judge import VERDICTS
from distill.llm.prompts import Prompt, load_prompt
from distill.llm.transformers.engine import TransformersEngine
from distill.recipe import EmbedderConfig, Recipe, load_recipe
from distill.recipe.packaged import get_packaged_folder
from distill.relabel.judgements import make_judgements
from distill.relabel.rankers.passes import RankerName, RankerSettings
from distill.retrieve.exact import ExactIndex
from distill.store.run import Run
from distill.store.stage import ShardResult, Stage
from distill.store.tables import CANDIDATES, JUDGEMENTS, PASSAGES, QUERIES, Row, Table
from distill.text.sanitize import sanitize_for_prompt

TOP_K = 20
QUERY_WORDS = 9
PEER_BATCH = 8
Scores = dict[tuple[str, str, str], float]
"""By ranker, query and passage."""


def texts(count: int) -> list[str]:
    """Abstracts of cacm, the longest first: titles alone would leave nothing to share."""
    file = Path(os.environ["DISTILL_DATA"], "own/cacm/corpus.jsonl")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    found = [f"{row.get('title') or ''} {row['text']}".strip() for row in rows]
    return sorted(found, key=lambda text: (-len(text), text))[:count]


def write(run: Run, table: Table, rows: list[Row], size: int, *inputs: Stage) -> Stage:
    stage = run.open_stage(table.name, {}, inputs)
    items = [rows[start : start + size] for start in range(0, len(rows), size)]
    stage.map_shards(table, items, ShardResult)
    stage.finish()
    return stage


def prepare(
    run: Run, recipe: Recipe, passages: list[str], encoder: Encoder
) -> tuple[Stage, Stage, Stage, list[Row]]:
    """The stages before judgement: a query of each passage's first words, retrieved by MiniLM."""
    asked = [" ".join(sanitize_for_prompt(text).split()[:QUERY_WORDS]) for text in passages]
    index = ExactIndex(encoder.encode(passages, "document"))
    scores, rows = index.search(encoder.encode(asked, "query"), TOP_K)
    found = [
        {"query_id": f"q{n}", "passage_id": f"p{row}", "rank": rank, "similarity": float(score)}
        for n in range(len(asked))
        for rank, (score, row) in enumerate(zip(scores[n], rows[n], strict=True), start=1)
    ]
    corpus = [
        {"passage_id": f"p{n}", "title": "", "text": text, "source": "cacm"}
        for n, text in enumerate(passages)
    ]
    queries = [
        {
            "query_id": f"q{n}",
            "seed_id": f"p{n}",
            "task": "",
            "task_type": "search",
            "query": text,
            "persona": None,
            "llm": "",
        }
        for n, text in enumerate(asked)
    ]
    size = recipe.relabel.shard_size
    first = write(run, PASSAGES, corpus, 1000)
    second = write(run, QUERIES, queries, 1000, first)
    return first, second, write(run, CANDIDATES, found, size * TOP_K, second), found


def ours(
    run: Run,
    recipe: Recipe,
    engine: TransformersEngine,
    stages: tuple[Stage, Stage, Stage],
    names: list[RankerName],
) -> tuple[float, Scores]:
    """Seconds, and the scores."""
    rankers = RankerSettings.select(recipe)
    passages, queries, candidates = stages
    judged = run.folder / f"{'-'.join(names)}.sqlite"
    begun = time.perf_counter()
    made = [
        make_judgements(run, rankers, name, passages, queries, candidates, lambda: engine, judged)
        for name in names
    ]
    seconds = time.perf_counter() - begun
    return seconds, {
        (row["ranker"], row["query_id"], row["passage_id"]): row["score"]
        for stage in made
        for row in stage.read_rows(JUDGEMENTS)
    }


@torch.inference_mode()
def peer(
    engine: TransformersEngine, prompts: dict[str, Prompt], pairs: list[tuple[str, str, str, str]]
) -> tuple[float, Scores]:
    """A full prompt for each pair and ranker, sorted by length, padded in batches, logits of the
    last places alone. Both verdicts, each a token, are read off one prompt."""
    begun = time.perf_counter()
    scores: Scores = {}
    for ranker, prompt in prompts.items():
        jobs = []
        for query_id, passage_id, query, passage in pairs:
            start = engine.prompt_tokenizer.tokenize(prompt.render(passage=passage), add_bos=True)
            end = prompt.render(1, query=query, verdict="").rstrip()
            jobs.append(((query_id, passage_id), start, engine.prompt_tokenizer.tokenize(end)))
        verdicts = [engine.prompt_tokenizer.tokenize(f" {verdict}") for verdict in VERDICTS]
        assert all(len(ids) == 1 for ids in verdicts)
        jobs.sort(key=lambda job: len(job[1]) + len(job[2]))
        for begin in range(0, len(jobs), PEER_BATCH):
            batch = jobs[begin : begin + PEER_BATCH]
            rows = [start + end for _, start, end in batch]
            width, longest = max(map(len, rows)), max(len(end) for _, _, end in batch)
            # Padded on the left: the last places are the continuations'.
            ids = torch.tensor([[engine._pad_id] * (width - len(r)) + r for r in rows])
            mask = torch.tensor([[0] * (width - len(r)) + [1] * len(r) for r in rows])
            logits = engine.model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=(mask.cumsum(1) - 1).clamp(min=0),
                logits_to_keep=longest + 1,
            ).logits.float()
            for place, (pair, _, tail) in enumerate(batch):
                logprobs = logits[place].log_softmax(-1)
                if ranker == "rc":
                    yes, no = (float(logprobs[-1, token]) for (token,) in verdicts)
                    scores[ranker, *pair] = yes - no
                else:
                    own = logprobs[-len(tail) - 1 : -1]
                    scores[ranker, *pair] = float(own[range(len(tail)), tail].sum())
    return time.perf_counter() - begun, scores


def ranks(scores: Scores, ranker: str, query_id: str) -> list[str]:
    of_query = {p: s for (r, q, p), s in scores.items() if (r, q) == (ranker, query_id)}
    return sorted(of_query, key=lambda p: (-of_query[p], p))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="Fewer passages: under five minutes.")
    parser.add_argument(
        "--smoke", action="store_true", help="The smallest size: seconds; its figures mean nothing."
    )
    given = parser.parse_args()
    if not os.environ.get("DISTILL_DATA"):
        parser.error("set DISTILL_DATA to the folder of offline data")
    rounds, passages, sampled = (2, 32, 1) if given.quick else (3, 96, 3)
    if given.smoke:
        rounds, passages, sampled = 1, 4, 1
    recipe = load_recipe(get_packaged_folder() / "demo.yaml", ["relabel.shard_size=256"])
    engine = TransformersEngine(recipe.llm.model, "float32", "cpu", recipe.llm.batch_tokens)
    encoder = load_encoder(recipe.retriever.model, EmbedderConfig(max_tokens=256, device="cpu"))
    prompts = {n: load_prompt(f"prompts/{n}.jinja", get_packaged_folder(), 2) for n in ("ql", "rc")}
    every = texts(rounds * passages)
    figures: dict[str, list[float]] = {"ours": [], "fused": [], "peer": []}
    difference, same = 0.0, []
    for number in range(rounds):
        own = every[number::rounds]
        with tempfile.TemporaryDirectory() as folder, Run(Path(folder)) as run:
            split, queries, searched, found = prepare(run, recipe, own, encoder)
            stages = (split, queries, searched)
            asked = {row["query_id"]: row["query"] for row in queries.read_rows(QUERIES)}
            some = sorted(asked)[:sampled]
            words = recipe.relabel.max_passage_words
            pairs = [
                (
                    r["query_id"],
                    r["passage_id"],
                    asked[r["query_id"]],
                    sanitize_for_prompt(own[int(r["passage_id"][1:])], words),
                )
                for r in found
                if r["query_id"] in some
            ]
            seconds, scores = ours(run, recipe, engine, stages, ["ql", "rc"])
            figures["ours"].append(len(found) / seconds)
            seconds, plain = peer(engine, prompts, pairs)
            figures["peer"].append(len(pairs) / seconds)
            seconds, _ = ours(run, recipe, engine, stages, ["fused"])
            figures["fused"].append(len(found) / seconds)
        difference = max([difference, *(abs(scores[key] - plain[key]) for key in plain)])
        own_scores = {key: scores[key] for key in plain}
        same += [ranks(own_scores, r, q) == ranks(plain, r, q) for r in prompts for q in some]
    print(json.dumps(result(figures, difference, same, passages)))


def result(
    figures: dict[str, list[float]], difference: float, same: list[bool], passages: int
) -> dict[str, Any]:
    def ratio(name: str) -> float:
        both = zip(figures[name], figures["peer"], strict=True)
        return round(statistics.median(a / b for a, b in both), 2)

    return {
        "name": "relabel",
        "unit": "pairs/s, QL and RC of each",
        **{name: round(statistics.median(values), 2) for name, values in figures.items()},
        "ratio": ratio("ours"),
        "ratio_fused": ratio("fused"),
        "target": 8,
        "largest_difference": difference,
        "same_ranking": f"{sum(same)} of {len(same)}",
        "passages": passages,
        "candidates": TOP_K,
        "rounds": len(figures["ours"]),
        "peer_is": f"one full prompt a pair and ranker, batches of {PEER_BATCH} of similar length",
    }


if __name__ == "__main__":
    main()
