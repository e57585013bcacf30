"""The best draw: by rank of the seed, or by the LLM's likelihood of the query."""

import pytest
from helpers.query_rows import make_parsed_row, make_passage
from helpers.tiny_models import TEXTS

from distill.errors import UserError
from distill.generate.filters.best_of import group_by_query, make_likelihood_order, order_by_rank
from distill.generate.filters.candidate import GeneratedQuery, SeedRank
from distill.llm.prompts import CONTINUATION, load_prompt
from distill.llm.protocol import ScoreRequest
from distill.llm.transformers.engine import TransformersEngine
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
