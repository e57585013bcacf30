"""Compute the scores of a run's systems on the judged pool, with intervals."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

import numpy as np

from distill.evaluate.judged.collection import PairId, read_json_lines
from distill.evaluate.judged.grades import get_highest_grade
from distill.evaluate.judged.pool import JUDGEMENTS_FILE, NAME, SystemRankings
from distill.evaluate.judged.sheet import (
    JudgingSheet,
    choose_reference,
    compute_pair_weights,
    find_sheet,
    read_current_rankings,
)
from distill.evaluate.judged.unjudged import compute_dcg_reach, compute_ndcg_reach
from distill.evaluate.statistics.label_draw import compute_inclusion
from distill.evaluate.statistics.prediction_powered import (
    DEPTH,
    LEAST_VERDICTS,
    PoweredDifference,
    compute_discounts,
    estimate_difference,
)
from distill.evaluate.summary import (
    CorrectedDifference,
    JudgeCheck,
    UnjudgedReach,
    name_difference,
)
from distill.evaluate.verdict import list_pairs
from distill.store.stage import Stage, open_stage


@dataclass(frozen=True)
class SystemFigures:
    """A system's figures over its first 10 passages of each query, means over queries: whether the
    seed passage is among them, and 1 / its rank (0 where it is not), both None for queries of a
    log, which have none; DCG by the LLM's scores; and the share of passages that nobody judged,
    which count as irrelevant here."""

    seed_recall: float | None
    seed_mrr: float | None
    dcg: float
    unjudged: float


@dataclass(frozen=True)
class JudgedResults:
    """The results of a judged pool. `reference` is the system that the student is compared with.
    `agreement` is the share of a person's verdicts that the LLM shares, None without any;
    `difference` is the interval for student minus reference, None below 10 verdicts; `differences`
    are those of all pairs of systems that the person's pairs were drawn for, by name. They reach as
    far as passages that nobody judged could be worth, and `ndcg_reach` says by how much the
    differences in nDCG@10 do; it is empty where all passages are judged. `depth` is how many
    passages of each system the pool holds."""

    judge: str
    queries: int
    pairs: int
    systems: dict[str, SystemFigures]
    reference: str | None
    verdicts: int
    agreement: float | None
    difference: PoweredDifference | None
    differences: Mapping[str, PoweredDifference] = field(default_factory=dict)
    ndcg_reach: Mapping[str, UnjudgedReach] = field(default_factory=dict)
    depth: int = DEPTH

    @property
    def unjudged(self) -> dict[str, float]:
        """The share of the first 10 passages that nobody judged, of the systems that have such."""
        return {name: of.unjudged for name, of in self.systems.items() if of.unjudged}


def check_judge(run_folder: Path) -> JudgeCheck | None:
    """Check the LLM that judged a run's pool by a person's verdicts so far; None where the run has
    no judged pool, or was not evaluated on it."""
    results = read_results(run_folder)
    if results is None:
        return None
    return {
        "model": results.judge,
        "verified": bool(results.differences),
        "verdicts": results.verdicts,
        "verdicts_needed": LEAST_VERDICTS,
        "agreement": None if results.agreement is None else round(results.agreement, 4),
        "queries": results.queries,
        "differences": {name: _build_difference(of) for name, of in results.differences.items()},
        "unjudged": {name: round(share, 4) for name, share in results.unjudged.items()},
        "ndcg_reach": {
            name: {"below": round(of["below"], 6), "above": round(of["above"], 6)}
            for name, of in results.ndcg_reach.items()
        },
    }


def _build_difference(of: PoweredDifference) -> CorrectedDifference:
    return {
        "difference": round(of.difference, 6),
        "low": round(of.low, 6),
        "high": round(of.high, 6),
        "tuning": round(of.tuning, 4),
    }


def read_results(run_folder: Path) -> JudgedResults | None:
    """Read what the pool, the last evaluation and a person's verdicts say; None where the run has
    no judged pool, or was not evaluated on it."""
    manifest = run_folder / NAME / ".stage" / "manifest.json"
    rankings = read_current_rankings(run_folder)
    if rankings is None or not manifest.is_file():
        return None
    pool = open_stage(manifest.parent.parent)
    if not pool.complete:
        return None
    rows = {
        (row["query_id"], row["passage_id"]): row
        for row in read_json_lines(pool.folder / JUDGEMENTS_FILE)
    }
    relevance: dict[PairId, float] = {pair: row["relevance"] for pair, row in rows.items()}
    relevant: dict[PairId, bool] = {pair: row["relevant"] for pair, row in rows.items()}
    seeds = {row["_id"]: row["seed"] for row in read_json_lines(pool.folder / "queries.jsonl")}
    sheet = find_sheet(run_folder, pool)
    verdicts = sheet.verdicts if sheet is not None else {}
    decided = {pair: verdict == "yes" for pair, verdict in verdicts.items() if verdict != "skip"}
    shared = [relevant[pair] == yes for pair, yes in decided.items()]
    reference = choose_reference(list(rankings))
    differences = {} if sheet is None else _estimate(sheet, rankings, relevance, list(seeds))
    systems = {name: _describe_system(of, seeds, relevance) for name, of in rankings.items()}
    is_all_judged = not any(of.unjudged for of in systems.values())
    grades = {pair: row["grade"] for pair, row in rows.items()}
    return JudgedResults(
        judge=str(pool.manifest["figures"]["judge"]),
        queries=len(seeds),
        pairs=len(relevance),
        systems=systems,
        reference=reference,
        verdicts=len(decided),
        agreement=mean(shared) if shared else None,
        difference=differences.get(name_difference("student", reference)) if reference else None,
        differences=differences,
        ndcg_reach={}
        if is_all_judged
        else _compute_ndcg_reaches(pool, rankings, grades, list(seeds)),
        depth=pool.manifest["settings"].get("depth", DEPTH),
    )


def _compute_ndcg_reaches(
    pool: Stage, rankings: SystemRankings, grades: Mapping[PairId, int], queries: list[str]
) -> dict[str, UnjudgedReach]:
    form = pool.manifest["settings"].get("judge", "graded")
    highest = get_highest_grade(form, pool.manifest["figures"].get("relative_grades", False))
    return {
        name_difference(*pair): compute_ndcg_reach(rankings, grades, highest, queries, pair)
        for pair in list_pairs(rankings, ())
    }


def _describe_system(
    ranked: Mapping[str, list[str]], seeds: Mapping[str, str], relevance: Mapping[PairId, float]
) -> SystemFigures:
    first = {query: ranked.get(query, [])[:DEPTH] for query in seeds}
    ranks = [
        first[query].index(seed) + 1 if seed in first[query] else None
        for query, seed in seeds.items()
    ]
    has_seeds = any(seeds.values())
    listed = [(query, passage) for query, passages in first.items() for passage in passages]
    return SystemFigures(
        seed_recall=mean(rank is not None for rank in ranks) if has_seeds else None,
        seed_mrr=mean(1 / rank if rank else 0.0 for rank in ranks) if has_seeds else None,
        dcg=mean(
            sum(
                discount * relevance.get((query, passage), 0.0)
                for passage, discount in compute_discounts(passages).items()
            )
            for query, passages in first.items()
        ),
        unjudged=mean(pair not in relevance for pair in listed) if listed else 0.0,
    )


def _estimate(
    sheet: JudgingSheet,
    rankings: SystemRankings,
    relevance: Mapping[PairId, float],
    queries: list[str],
) -> dict[str, PoweredDifference]:
    """Estimate all differences that the pairs were drawn for, by the verdicts so far. Pairs before
    the last verdict that have none were seen and skipped. Each interval reaches as far as what
    nobody judged could be worth."""
    pairs = [(pair.query_id, pair.passage_id) for pair in sheet.pairs]
    words = [sheet.verdicts.get(pair) for pair in pairs]
    last = max((n for n, word in enumerate(words) if word is not None), default=-1)
    judged = [n for n, word in enumerate(words) if word in ("yes", "no")]
    skipped = [n for n in range(last + 1) if words[n] not in ("yes", "no")]
    place = {query: number for number, query in enumerate(queries)}
    inclusion = compute_inclusion(
        np.array([pair.size for pair in sheet.pairs]),
        np.array([pair.key for pair in sheet.pairs]),
        judged,
        skipped,
    )
    estimates = {
        (one, other): estimate_difference(
            len(queries),
            np.array([place[query] for query, _ in pairs], dtype=np.int64),
            compute_pair_weights(rankings, pairs, one, other),
            np.array([relevance[pair] for pair in pairs]),
            np.array([{"yes": 1.0, "no": 0.0}.get(word or "", np.nan) for word in words]),
            inclusion,
        )
        for one, other in _list_estimated(sheet, rankings)
    }
    return {
        name_difference(*pair): _widen(of, compute_dcg_reach(rankings, relevance, queries, pair))
        for pair, of in estimates.items()
        if of is not None
    }


def _widen(of: PoweredDifference, reach: UnjudgedReach) -> PoweredDifference:
    return of._replace(low=of.low - reach["below"], high=of.high + reach["above"])


def _list_estimated(sheet: JudgingSheet, rankings: SystemRankings) -> list[tuple[str, str]]:
    if "student" not in rankings:
        return []
    if sheet.drawn_for is None:
        reference = choose_reference(list(rankings))
        return [("student", reference)] if reference else []
    pairs = list_pairs(rankings, ())
    return [pair for pair in pairs if name_difference(*pair) in sheet.drawn_for]
