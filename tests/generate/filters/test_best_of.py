"""The best draw: by rank of the seed, or by the LLM's likelihood of the query."""

import math

import pytest
from helpers.in_memory import InMemoryLLM
from helpers.query_rows import (
    filter_queries,
    make_filter_recipe,
    make_parsed_row,
    make_passage,
    prepare_parsed,
)
from helpers.tiny_models import TEXTS

from distill.errors import UserError
from distill.generate.filters.best_of import (
    group_by_query,
    make_contrast_order,
    make_likelihood_order,
    order_by_rank,
)
from distill.generate.filters.candidate import GeneratedQuery, SeedRank
from distill.llm.lazy import LazyLLM
from distill.llm.prompts import CONTINUATION, load_prompt
from distill.llm.protocol import Score, ScoreRequest
from distill.llm.transformers.engine import TransformersEngine
from distill.store.passages import PassageReader
from distill.store.tables import QUERIES
from distill.text.sanitize import sanitize_for_prompt

PROMPT = f"Passage: {{{{ passage }}}}\nQuery:\n{CONTINUATION} {{{{ query }}}}\n"


def drawn(sample, draw, query="how high", rank=None, similarity=0.0, text="Swifts sleep."):
    row = make_parsed_row("p", query, sample, draw)
    return GeneratedQuery(row, make_passage("p", text), 0, retrieved=SeedRank(rank, similarity))


def test_draws_of_one_query_stand_together():
    draws = [drawn(0, 0), drawn(0, 2), drawn(1, 1), drawn(3, 0)]
    assert group_by_query(draws) == [draws[:2], draws[2:3], draws[3:]]


def test_nearest_is_by_rank_then_similarity_then_draw():
    draws = [
        drawn(0, 0, rank=None, similarity=0.9),
        drawn(0, 1, rank=2, similarity=0.8),
        drawn(0, 2, rank=1, similarity=0.7),
        drawn(0, 3, rank=2, similarity=0.85),
        drawn(0, 4, rank=None, similarity=0.95),
        drawn(0, 5, rank=None, similarity=0.9),
    ]
    (order,) = order_by_rank([draws])
    assert [d.row["draw"] for d in order] == [2, 3, 1, 4, 0, 5]


def test_queries_of_one_draw_each_are_compared_with_nothing(tmp_path, engine):
    (tmp_path / "ql.jinja").write_text(PROMPT)
    prompt = load_prompt("ql.jinja", tmp_path, parts=2)
    groups = [[drawn(0, 1, "alone")], [drawn(1, 0, "alone too")]]
    assert make_likelihood_order(engine, prompt, 120)(groups) == groups


@pytest.fixture(scope="module")
def engine(llm_folder):
    return TransformersEngine(str(llm_folder), "float32", "cpu", 512)


def test_likeliest_query_is_by_the_mean_over_its_tokens(tmp_path, engine):
    (tmp_path / "ql.jinja").write_text(PROMPT)
    prompt = load_prompt("ql.jinja", tmp_path, parts=2)
    asked = ["the heart", "bees dance to tell other bees where the flowers are", "zzz qqq"]
    groups = [
        [drawn(0, n, query, text=TEXTS[0]) for n, query in enumerate(asked)],
        [drawn(1, 0, "alone")],
        [drawn(2, n, query, text=TEXTS[3]) for n, query in enumerate(asked[:2])],
    ]
    ordered = make_likelihood_order(engine, prompt, 6)(groups)
    assert ordered[1] == groups[1]
    for group, found in zip(groups, ordered, strict=True):
        means = {}
        for draw in group:
            start = f"Passage: {sanitize_for_prompt(draw.passage_text, 6)}\nQuery:"
            ((score,),) = engine.score([ScoreRequest(start, (f" {draw.query}",))])
            means[draw.row["draw"]] = score.logprob / score.tokens
        assert [d.row["draw"] for d in found] == sorted(means, key=means.get, reverse=True)


class PartlyBlindLLM(InMemoryLLM):
    """Has no likelihood for one query."""

    def score(self, requests):
        likelihoods = {"low": -10.0, "none": math.nan, "high": -1.0}
        return [
            [Score(likelihoods[text.strip()], 1, ()) for text in of.continuations]
            for of in requests
        ]


def test_draw_without_a_likelihood_is_last_and_moves_no_other(tmp_path):
    (tmp_path / "ql.jinja").write_text(PROMPT)
    prompt = load_prompt("ql.jinja", tmp_path, parts=2)
    group = [drawn(0, n, query) for n, query in enumerate(["low", "none", "high", "low"])]
    (found,) = make_likelihood_order(PartlyBlindLLM(), prompt, 120)([group])
    assert [draw.query for draw in found] == ["high", "low", "low", "none"]


def test_equal_draws_keep_their_order(tmp_path, engine):
    (tmp_path / "ql.jinja").write_text(PROMPT)
    prompt = load_prompt("ql.jinja", tmp_path, parts=2)
    group = [drawn(0, n, "the same") for n in range(3)]
    assert make_likelihood_order(engine, prompt, 120)([group]) == [group]


@pytest.mark.bad_input("engines", "best_by ql without log-probabilities", "refused")
def test_engine_without_log_probabilities_is_refused(tmp_path):
    class Mute:
        name = "mute"
        can_score = False

    (tmp_path / "ql.jinja").write_text(PROMPT)
    prompt = load_prompt("ql.jinja", tmp_path, parts=2)
    with pytest.raises(UserError, match="best_by ql needs log-probabilities"):
        make_likelihood_order(Mute(), prompt, 120)
    with pytest.raises(UserError, match="best_by contrast needs log-probabilities"):
        make_contrast_order(Mute(), prompt, 120, None)


def test_contrast_is_the_likelihood_given_the_passage_against_its_nearest_other(
    tmp_path, run, engine
):
    (tmp_path / "ql.jinja").write_text(PROMPT)
    prompt = load_prompt("ql.jinja", tmp_path, parts=2)
    passages, _ = prepare_parsed(run, [[make_passage(f"p{n}", t) for n, t in enumerate(TEXTS)]], [])
    asked = ["the heart", "bees dance to tell other bees where the flowers are", "zzz qqq"]
    others = [3, 1, 3]
    group = [drawn(0, n, query, text=TEXTS[0]) for n, query in enumerate(asked)]
    for draw, number in zip(group, others, strict=True):
        draw.retrieved = SeedRank(1, 0.5, number)
    reader = PassageReader(passages.folder)
    (found,) = make_contrast_order(engine, prompt, 6, reader)([group])
    contrasts = []
    for query, number in zip(asked, others, strict=True):
        both = []
        for text in (TEXTS[0], TEXTS[number]):
            start = f"Passage: {sanitize_for_prompt(text, 6)}\nQuery:"
            ((score,),) = engine.score([ScoreRequest(start, (f" {query}",))])
            both.append(score.logprob)
        contrasts.append(both[0] - both[1])
    expected = sorted(range(3), key=contrasts.__getitem__, reverse=True)
    assert [draw.row["draw"] for draw in found] == expected
    group[2].retrieved = SeedRank(1, 0.5, None)
    (found,) = make_contrast_order(engine, prompt, 6, reader)([group])
    assert found[0] is group[2]


class SharedWordsLLM(InMemoryLLM):
    """Finds a query the likelier the more of its words its passage has."""

    def score(self, requests):
        return [
            [self._count(text, one.prefix.rsplit("Passage:", 1)[-1]) for text in one.continuations]
            for one in requests
        ]

    def _count(self, text, passage):
        missing = sum(word not in passage for word in text.split())
        return Score(-missing, len(text.split()), ())


def test_contrast_prefers_a_query_that_no_other_passage_answers(run):
    """Two passages of the same words but for a few: the likelier draw fits both."""
    rows = [
        make_passage("p0", "The heart moves blood through vessels of the body at rest."),
        make_passage("p1", "The heart moves blood through vessels of the body in flight."),
    ]
    draws = [
        make_parsed_row("p0", "heart moves blood through vessels", 0, 0),
        make_parsed_row("p0", "heart moves blood slowly rest", 0, 1),
    ]
    passages, parsed = prepare_parsed(run, [rows], [draws])
    kept, served = {}, {"engine": "http", "base_url": "http://localhost:1/v1", "model": "words"}
    for by in ("ql", "contrast"):
        recipe = make_filter_recipe(
            llm=served,
            generate={"best_of": 2, "best_by": by, "filters": {"round_trip_by": "retriever"}},
            retriever={"sources": ["bm25"]},
        )
        llm = LazyLLM(SharedWordsLLM)
        (row,) = filter_queries(run, recipe, passages, [parsed], llm).read_rows(QUERIES)
        kept[by] = row["query"]
    assert kept == {"ql": draws[0]["query"], "contrast": draws[1]["query"]}
