"""The LLM's judgement of each candidate (Gecko, section 3.2).

Query likelihood, `QL(q, p) = log P(q | p)`, and relevance classification, here the log-odds of
the verdicts yes and no, `RC(q, p) = log P(yes | q, p) - log P(no | q, p)`.

The work is passage-major: all queries of a passage continue one prefix, so that the few-shot
header is computed once for many passages and a passage once for all its queries.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import partial

from distill.errors import UserError
from distill.llm.form import in_chat_form
from distill.llm.load import identity
from distill.llm.protocol import LLM, ScoreRequest
from distill.prompts import Prompt, as_data, load_prompt
from distill.recipe import Recipe
from distill.relabel.grade import judge_by_grade
from distill.run import Run, Shard, Stage
from distill.tables import CANDIDATES, JUDGEMENTS, PASSAGES, QUERIES, Row, passage_text

VERDICTS = ("yes", "no")
JUDGES = ("ql", "rc")

Requests = Sequence[tuple[str, Sequence[str]]]
"""Passages, each with its queries."""
Judge = Callable[[Requests], list[list[tuple[float, int]]]]
"""For each passage and its queries, a score and the tokens that it is of."""

Group = tuple[str, list[str]]
"""A passage id and the ids of the queries that it is a candidate for."""


def make_judgements(
    run: Run,
    recipe: Recipe,
    ranker: str,
    passages: Stage,
    queries: Stage,
    candidates: Stage,
    llm: Callable[[], LLM],
) -> Stage:
    """Judge every candidate by one of the LLM rankers, `ql` or `rc`. Where a server gives no
    log-probabilities at all, `rc` is a grade in words.

    Raises:
        UserError: before the first row, if `ql` is asked of an engine that gives no
            log-probabilities of prompts.
    """
    name = recipe.relabel.prompt_ql if ranker == "ql" else recipe.relabel.prompt_rc
    prompt = load_prompt(name, recipe.folder, parts=2)
    grade = load_prompt(recipe.relabel.prompt_grade, recipe.folder, parts=1)
    settings = _fingerprinted(recipe, prompt)
    if ranker == "rc" and recipe.llm.engine == "http":
        settings["prompt_grade"] = grade.source
    stage = run.stage(f"judgements-{ranker}", settings, [candidates])
    if stage.complete:
        return stage
    engine = llm()
    judge = _judge(ranker, engine, prompt, grade, recipe)
    texts = {row["passage_id"]: passage_text(row) for row in passages.rows(PASSAGES)}
    asked = {row["query_id"]: row["query"] for row in queries.rows(QUERIES)}
    items = _shards(by_passage(candidates.rows(CANDIDATES)), recipe.relabel.shard_size)
    max_words = recipe.generate.max_passage_words
    before = dict(engine.tokens)

    def work(groups: list[Group]) -> Shard:
        requests = [
            (as_data(texts[passage_id], max_words), [asked[q] for q in query_ids])
            for passage_id, query_ids in groups
        ]
        return _shard(ranker, groups, judge(requests))

    stage.map_shards(
        JUDGEMENTS,
        items,
        work,
        size=lambda groups: sum(len(g[1]) for g in groups),
        unit="pairs",
        tokens=lambda: engine.tokens,
    )
    stage.finish(tokens={key: engine.tokens[key] - before.get(key, 0) for key in engine.tokens})
    return stage


def _judge(ranker: str, llm: LLM, prompt: Prompt, grade: Prompt, recipe: Recipe) -> Judge:
    """How this engine judges."""
    if ranker == "ql" and not llm.can_score:
        raise UserError(
            recipe.llm.model,
            "ranker 'ql' needs the log-probabilities of a prompt, which this engine does not give",
            "choose another engine, or relabel.rankers: [rc, retriever]",
        )
    if ranker == "ql":
        return partial(judge_ql, llm, prompt)
    if llm.can_compare_verdicts:
        return partial(judge_rc, llm, prompt)
    return partial(judge_by_grade, llm, grade, chat=in_chat_form(recipe, llm))


def judge_ql(
    llm: LLM, prompt: Prompt, requests: Sequence[tuple[str, Sequence[str]]]
) -> list[list[tuple[float, int]]]:
    """For each passage and its queries, (log P(query | passage), tokens of the query)."""
    scored = llm.score(
        [
            ScoreRequest(
                prompt.render(passage=passage),
                tuple(prompt.render(1, query=query) for query in queries),
            )
            for passage, queries in requests
        ]
    )
    return [[(score.logprob, score.tokens) for score in of_passage] for of_passage in scored]


def judge_rc(
    llm: LLM, prompt: Prompt, requests: Sequence[tuple[str, Sequence[str]]]
) -> list[list[tuple[float, int]]]:
    """For each passage and its queries, (log-odds of yes against no, tokens of the query and
    verdict). Both verdicts are scored behind the same query, which cancels out of the difference:
    so it holds for any tokenizer, also where a verdict is more than one token."""
    scored = llm.score(
        [
            ScoreRequest(
                prompt.render(passage=passage),
                tuple(
                    prompt.render(1, query=query, verdict=verdict)
                    for query in queries
                    for verdict in VERDICTS
                ),
            )
            for passage, queries in requests
        ]
    )
    return [
        [
            (yes.logprob - no.logprob, yes.tokens)
            for yes, no in zip(of_passage[::2], of_passage[1::2], strict=True)
        ]
        for of_passage in scored
    ]


def by_passage(candidates: Sequence[Row]) -> list[Group]:
    """Candidates grouped by passage: passages in the order of their ids, queries as they come."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for row in candidates:
        groups[row["passage_id"]].append(row["query_id"])
    return sorted(groups.items())


def _shards(groups: Sequence[Group], size: int) -> list[list[Group]]:
    """Cut between passages once a shard holds `size` pairs."""
    shards: list[list[Group]] = [[]]
    held = 0
    for group in groups:
        if held >= size:
            shards.append([])
            held = 0
        shards[-1].append(group)
        held += len(group[1])
    return shards


def _shard(
    ranker: str, groups: Sequence[Group], scores: Sequence[Sequence[tuple[float, int]]]
) -> Shard:
    rows = [
        {
            "query_id": query_id,
            "passage_id": passage_id,
            "ranker": ranker,
            "score": score,
            "tokens": tokens,
        }
        for (passage_id, query_ids), of_passage in zip(groups, scores, strict=True)
        for query_id, (score, tokens) in zip(query_ids, of_passage, strict=True)
    ]
    return Shard(rows, Counter(passages=len(groups), pairs=len(rows)))


def _fingerprinted(recipe: Recipe, prompt: Prompt) -> dict[str, object]:
    return {
        "prompt": prompt.source,
        "llm": identity(recipe.llm),
        "max_passage_words": recipe.generate.max_passage_words,
        "shard_size": recipe.relabel.shard_size,
    }
