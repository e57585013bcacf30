"""The stages `judgements-*`: every candidate judged by one ranker.

The work is passage-major, a block of queries at a time. Pairs that the run has judged before, under
any settings, are looked up and not judged again.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from distill.llm.judge import JudgeRequests
from distill.llm.lazy import choose_needs
from distill.llm.protocol import LLM
from distill.llm.usable import refuse_if_none_usable
from distill.recipe import Relabel
from distill.relabel.by_passage import (
    CandidateLayout,
    JudgementPart,
    PairBlock,
    PairBlocks,
    QueryPassagePair,
    group_by_passage,
    make_judgement_row,
)
from distill.relabel.rankers.cross_encoder import LazyCrossEncoder, open_cross_encoder
from distill.relabel.rankers.passes import (
    RankerName,
    RankerSettings,
    RankingPass,
    identify_pass,
    open_ranking,
)
from distill.retrieve.self_test import check_reranker
from distill.store.judgement_cache import (
    Judgement,
    JudgementCache,
    JudgementOrigin,
    KnownJudgements,
    make_earlier_key,
    make_judgement_key,
)
from distill.store.passages import PassageReader
from distill.store.run import Run
from distill.store.stage import ShardResult, Stage
from distill.store.tables import JUDGEMENTS
from distill.text.sanitize import sanitize_for_prompt
from distill.workers.protocol import OpenWork

_NumberedPart = tuple[int, JudgementPart]
_OpenJudge = OpenWork[_NumberedPart, ShardResult]
_NO_SCORE = (
    "the model gave no usable score (NaN, infinite, positive or missing log-probabilities, or a "
    "text that is too long for it)"
)


def make_judgements(
    run: Run,
    rankers: RankerSettings,
    name: RankerName,
    passages: Stage,
    queries: Stage,
    candidates: Stage,
    llm: Callable[[], LLM],
    judged: Path,
) -> Stage:
    """Judge every candidate in one pass over all pairs.

    Args:
        name: any pass but `listwise`, which is of whole lists (see `judge_lists`).
        judged: the SQLite file that caches all judgements of the run.

    Raises:
        UserError: before the first row, if the engine cannot do what the ranker needs, or the
            cross-encoder ranks at random.
    """
    rule = rankers.rule
    stage = run.open_stage(f"judgements-{name}", fingerprint(name, rankers), [candidates])
    if stage.complete:
        return stage
    layout = CandidateLayout(candidates, rule.block, rule.shard_size)
    inputs = PairInputs(passages, queries, candidates)
    opens: Callable[[KnownJudgements], AbstractContextManager[_OpenJudge]]
    if name == "cross_encoder":
        cross_encoder = LazyCrossEncoder.select(rankers)
        opens = partial(_open_cross_encoder_judge, rankers, cross_encoder, inputs)
        needs = cross_encoder.needs
    else:
        opens = partial(_open_llm_judge, rankers, name, llm, inputs)
        needs = choose_needs(llm)
    with closing(JudgementCache(judged, run.workers.reads_only)) as cache:
        turn = cache.begin(stage)
        with cache.open_for_workers(stage, turn) as known:
            tokens = stage.map_on_workers(
                JUDGEMENTS,
                list(enumerate(layout.list_pieces(rule.shard_size))),
                partial(opens, known),
                needs,
                size=lambda numbered: numbered[1].stop - numbered[1].start,
                unit="pairs",
                group=lambda numbered: numbered[1].block,
                keep=lambda numbered, new: cache.keep(new, JudgementOrigin(turn, numbered[0])),
                key="relabel.shard_size",
                requests_a_unit=1,
            )
    stage.finish(tokens=tokens)
    return stage


def fingerprint(name: RankerName, rankers: RankerSettings) -> dict[str, object]:
    """Collect the settings that change a ranker's judgements, and how they lie in shards."""
    rule = rankers.rule
    shape = {"shard_size": rule.shard_size, "block": rule.block}
    return {**identify_pass(name, rankers), **shape}


class PairInputs(NamedTuple):
    """The stages that pairs are read from."""

    passages: Stage
    queries: Stage
    candidates: Stage


@contextmanager
def _open_llm_judge(
    rankers: RankerSettings,
    name: RankerName,
    llm: Callable[[], LLM],
    inputs: PairInputs,
    known: KnownJudgements,
) -> Iterator[_OpenJudge]:
    ranking, engine = open_ranking(name, rankers, llm), llm()
    judge_parts = _make_work(rankers.rule, ranking, inputs, known, rankers.rule.max_passage_words)
    yield OpenWork(judge_parts, lambda: engine.tokens)


@contextmanager
def _open_cross_encoder_judge(
    rankers: RankerSettings,
    cross_encoder: LazyCrossEncoder,
    inputs: PairInputs,
    known: KnownJudgements,
) -> Iterator[_OpenJudge]:
    ranking = open_cross_encoder(rankers, cross_encoder)
    where = f"model {rankers.rule.cross_encoder!r}"
    passages = PassageReader(inputs.passages.folder)
    check_reranker(lambda pairs: ranking.judge(pairs)[0], passages, where)
    yield OpenWork(_make_work(rankers.rule, ranking, inputs, known, None))


def _make_work(
    rule: Relabel,
    ranking: RankingPass,
    inputs: PairInputs,
    known: KnownJudgements,
    max_words: int | None,
) -> Callable[[Sequence[_NumberedPart]], list[ShardResult]]:
    layout = CandidateLayout(inputs.candidates, rule.block, rule.shard_size)
    blocks = PairBlocks(layout, inputs.queries, inputs.passages)

    def judge_parts(numbered: Sequence[_NumberedPart]) -> list[ShardResult]:
        parts = (blocks.read_pairs(part) for _, part in numbered)
        return [_judge_shard(ranking, block, pairs, known, max_words) for block, pairs in parts]

    return judge_parts


def _judge_shard(
    ranking: RankingPass,
    block: PairBlock,
    pairs: list[QueryPassagePair],
    known: KnownJudgements,
    max_words: int | None,
) -> ShardResult:
    """Judge the pairs of one shard that are not known yet; the new judgements are `beside` its
    rows. A pair for which the model has no usable score has no row; it ranks behind the judged
    ones."""
    texts = {
        id_: sanitize_for_prompt(block.passages[id_], max_words)
        for id_ in {p.passage_id for p in pairs}
    }
    keys, earlier = (
        {
            (ranker, pair): make_key(
                {**ranking.fingerprint, "ranker": ranker},
                texts[pair.passage_id],
                block.queries[pair.query_id],
            )
            for ranker in ranking.rankers
            for pair in pairs
        }
        for make_key in (make_judgement_key, make_earlier_key)
    )
    cached = known.find([*keys.values()], [*earlier.values()])
    unknown = [p for p in pairs if any(keys[r, p] not in cached for r in ranking.rankers)]
    groups = group_by_passage(unknown)
    requests: JudgeRequests = [(texts[p], [block.queries[q] for q in ids]) for p, ids in groups]
    new: dict[bytes, Judgement] = {}
    if requests:
        for ranker, judged in zip(ranking.rankers, ranking.judge(requests), strict=True):
            for (passage_id, query_ids), scores in zip(groups, judged, strict=True):
                for query_id, score in zip(query_ids, scores, strict=True):
                    new[keys[ranker, QueryPassagePair(query_id, passage_id)]] = score
        new = {key: judged for key, judged in new.items() if math.isfinite(judged[0])}
    scored = cached | new
    named = f"ranker {' and '.join(ranking.rankers)}"
    refuse_if_none_usable(named, len(scored), len(pairs), ranking.llm)
    rows = [
        make_judgement_row(pair, ranker, *scored[key])
        for (ranker, pair), key in keys.items()
        if key in scored
    ]
    dropped = [
        {"item_id": f"{pair.query_id} {pair.passage_id}", "reason": ranker, "text": _NO_SCORE}
        for (ranker, pair), key in keys.items()
        if key not in scored
    ]
    counts = Counter(
        pairs=len(pairs), passages=len(texts), **{"judged before": len(pairs) - len(unknown)}
    )
    if dropped:
        counts["without a usable score"] = len(dropped)
    return ShardResult(rows, counts, dropped, beside=new)
