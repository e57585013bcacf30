"""The stage `judgements-listwise`: the LLM sorts each query's candidates, for engines that give no
log-probabilities (Sun et al. 2023, "Is ChatGPT Good at Search?", section 3.2)."""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from distill.llm.judge import JudgedLists, JudgeRequests
from distill.llm.lazy import choose_needs
from distill.llm.load import uses_chat_template
from distill.llm.prompts import load_prompt
from distill.llm.protocol import LLM
from distill.llm.usable import refuse_if_none_usable
from distill.relabel.by_passage import (
    CandidateTexts,
    QueryPassagePair,
    count_shards_a_block,
    make_judgement_row,
    read_shard_queries,
)
from distill.relabel.fuse import group_by_query
from distill.relabel.judgements import PairInputs
from distill.relabel.rankers.listwise import judge_listwise, make_windows
from distill.relabel.rankers.passes import RankerSettings, identify_pass
from distill.store.judgement_cache import (
    Judgement,
    JudgementCache,
    JudgementOrigin,
    KnownJudgements,
    make_earlier_key,
    make_judgement_key,
)
from distill.store.run import Run
from distill.store.shards import list_shards
from distill.store.stage import ShardResult, Stage
from distill.store.tables import (
    CANDIDATES,
    JUDGEMENTS,
    QUERIES,
    Reader,
    Row,
    count_rows_by_shard,
    read_shard,
)
from distill.text.sanitize import sanitize_for_prompt
from distill.workers.protocol import OpenWork

_UNREADABLE = "a reply for its query's list failed, was cut off or names no passage"


def make_list_judgements(
    run: Run,
    rankers: RankerSettings,
    passages: Stage,
    queries: Stage,
    candidates: Stage,
    llm: Callable[[], LLM],
    judged: Path,
) -> Stage:
    """Have the LLM sort each query's candidates; a score is minus the rank."""
    rule = rankers.rule
    settings = fingerprint(rankers)
    stage = run.open_stage("judgements-listwise", settings, [candidates])
    if stage.complete:
        return stage
    inputs = PairInputs(passages, queries, candidates)
    paths = list_shards(candidates.folder)
    rows = count_rows_by_shard(candidates.folder, paths)
    windows = len(make_windows(rule.top_k, rule.listwise_window))
    with closing(JudgementCache(judged, run.workers.reads_only)) as cache:
        turn = cache.begin(stage)
        with cache.open_for_workers(stage, turn) as known:
            tokens = stage.map_on_workers(
                JUDGEMENTS,
                range(len(paths)),
                partial(_open_judge, rankers, settings, inputs, llm, known),
                choose_needs(llm),
                size=lambda number: rows[number],
                unit="pairs",
                group=lambda number: number // count_shards_a_block(rule),
                keep=lambda number, new: cache.keep(new, JudgementOrigin(turn, number)),
                key="relabel.shard_size",
                requests_a_unit=windows / rule.top_k,
            )
    stage.finish(tokens=tokens)
    return stage


def fingerprint(rankers: RankerSettings) -> dict[str, object]:
    """Collect the settings that change how the lists are sorted; shards are those of the
    candidates."""
    return identify_pass("listwise", rankers)


@contextmanager
def _open_judge(
    rankers: RankerSettings,
    settings: dict[str, object],
    inputs: PairInputs,
    llm: Callable[[], LLM],
    known: KnownJudgements,
) -> Iterator[OpenWork[int, ShardResult]]:
    rule, engine = rankers.rule, llm()
    prompt = load_prompt(rule.prompt_listwise, rankers.folder, parts=1)
    chat = uses_chat_template(rankers.llm, engine)
    query_rows = Reader(QUERIES, inputs.queries.folder)
    paths = list_shards(inputs.candidates.folder)
    corpus = CandidateTexts(inputs.passages, paths, count_shards_a_block(rule))

    def judge_one(number: int) -> ShardResult:
        shard_queries = read_shard_queries(query_rows, number, rule.shard_size)
        query_texts = {row["query_id"]: row["query"] for row in shard_queries}
        lists = group_by_query(read_shard(CANDIDATES, paths[number]))
        texts = corpus.read_shard_texts(number)
        own = {row["passage_id"] for of in lists for row in of}
        cut = {id_: sanitize_for_prompt(texts[id_], rule.max_passage_words) for id_ in own}
        counts: Counter[str] = Counter()
        window = rule.listwise_window

        def judge(requests: JudgeRequests) -> JudgedLists:
            most = rankers.llm.verdict_tokens
            return judge_listwise(engine, prompt, requests, window, chat, counts, most)

        shard = _judge_shard(judge, counts, settings, window, lists, query_texts, cut, known)
        _refuse_if_none_sorted(lists, shard.rows, rankers)
        return shard

    yield OpenWork(lambda numbers: [*map(judge_one, numbers)], lambda: engine.tokens)


def _refuse_if_none_sorted(lists: list[list[Row]], judged: list[Row], of: RankerSettings) -> None:
    """Refuse an LLM that sorted none of several lists; one of a single passage says nothing."""
    sortable = {rows[0]["query_id"] for rows in lists if len(rows) > 1}
    known = sortable & {row["query_id"] for row in judged}
    refuse_if_none_usable("ranker listwise", len(known), len(sortable), of.llm, "lists")


def _judge_shard(
    judge: Callable[[JudgeRequests], JudgedLists],
    counts: Counter[str],
    settings: dict[str, object],
    window: int,
    lists: list[list[Row]],
    queries: dict[str, str],
    texts: dict[str, str],
    known: KnownJudgements,
) -> ShardResult:
    """Judge the lists that are not known yet; the new judgements are `beside` the rows. A list is
    judged as a whole: it is known only with all its passages in their order. One whose reply cannot
    be read has no rows: its passages have no rank by this ranker."""
    keys: dict[QueryPassagePair, bytes] = {}
    earlier: dict[QueryPassagePair, bytes] = {}
    pair_lists = [
        [QueryPassagePair(row["query_id"], row["passage_id"]) for row in rows] for rows in lists
    ]
    for pairs in pair_lists:
        listed = [texts[pair.passage_id] for pair in pairs]
        # A list that a window holds as a whole is sorted alike in a larger one.
        mark = settings | {"window": min(window, len(listed))}
        for rank, pair in enumerate(pairs):
            read = (str(rank), queries[pair.query_id], *listed)
            keys[pair] = make_judgement_key(mark, *read)
            earlier[pair] = make_earlier_key(settings, *read)
    cached = known.find([*keys.values()], [*earlier.values()])
    unknown = [pairs for pairs in pair_lists if any(keys[pair] not in cached for pair in pairs)]
    requests = [
        (queries[pairs[0].query_id], [texts[pair.passage_id] for pair in pairs])
        for pairs in unknown
    ]
    new: dict[bytes, Judgement] = {
        keys[pair]: score
        for pairs, scores in zip(unknown, judge(requests), strict=True)
        for pair, score in zip(pairs, scores, strict=True)
        if math.isfinite(score[0])
    }
    scored = new | cached
    rows = [
        make_judgement_row(pair, "listwise", *scored[key])
        for pair, key in keys.items()
        if key in scored
    ]
    dropped = [
        {"item_id": f"{pair.query_id} {pair.passage_id}", "reason": "listwise", "text": _UNREADABLE}
        for pair, key in keys.items()
        if key not in scored
    ]
    counts.update(pairs=len(keys), queries=len(lists))
    counts["judged before"] = len(keys) - sum(map(len, unknown))
    if dropped:
        counts["without a usable score"] = len(dropped)
    return ShardResult(rows, counts, dropped, beside=new)
