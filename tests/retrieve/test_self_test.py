"""The self-test of rerankers: what ranks at random is refused, what is weak is named."""

import logging

import pytest
from helpers.relabel_rows import prepare_candidates
from helpers.tiny_models import TEXTS, make_tiny_cross_encoder

from distill.errors import UserError
from distill.recipe import Recipe
from distill.relabel.judgements import make_judgements
from distill.relabel.rankers.passes import RankerSettings
from distill.retrieve.self_test import (
    KnownPair,
    SelfTest,
    check_reranker,
    draw_known_pairs,
    run_self_test,
)
from distill.store.passages import PassageReader
from distill.store.run import Run

PASSAGES = {
    f"p{i}-{j}": f"{a} {b}" for i, a in enumerate(TEXTS) for j, b in enumerate(TEXTS) if i < j
}


@pytest.fixture(scope="module")
def reader(tmp_path_factory) -> PassageReader:
    with Run(tmp_path_factory.mktemp("run") / "run") as run:
        passages, _, _ = prepare_candidates(run, PASSAGES, [], [])
    return PassageReader(passages.folder)


def score_words(requests):
    """Words in common."""
    return [
        [(float(len({*query.split()} & {*passage.split()})), 0) for query in queries]
        for passage, queries in requests
    ]


def test_pairs_are_a_passage_with_its_own_words_and_one_without_them(reader):
    pairs = draw_known_pairs(reader)
    assert len(pairs) == 32
    assert all(pair.query in pair.own and pair.query not in pair.other for pair in pairs)
    assert len({pair.own for pair in pairs}) == 32


def test_reranker_that_knows_its_pairs_passes(reader, caplog):
    result = check_reranker(score_words, reader, "model 'words'")
    assert result == SelfTest(32, 32)
    assert caplog.text == ""


@pytest.mark.parametrize(("won", "at_random"), [(16, True), (23, True), (24, False), (32, False)])
def test_self_test_that_chance_would_pass_is_no_success(won, at_random):
    assert SelfTest(32, won).at_random is at_random
    assert not SelfTest(15, 0).at_random  # too few to say


def test_equal_scores_are_not_won():
    result = run_self_test(
        lambda requests: [[(0.0, 0)] for _ in requests], [KnownPair("a", "a b", "c")]
    )
    assert result == SelfTest(1, 0)
    assert run_self_test(score_words, []).share == 1


def test_weak_reranker_is_named_in_a_warning(reader, caplog):
    others = {pair.own for pair in draw_known_pairs(reader)[:6]}

    def score(requests):
        return [
            [(-1.0, 0)] if passage in others else of
            for (passage, _), of in zip(requests, score_words(requests), strict=True)
        ]

    with caplog.at_level(logging.WARNING):
        check_reranker(score, reader, "model 'weak'")
    assert "model 'weak' scores 26 of 32" in caplog.text


@pytest.mark.bad_input("models", "a reranker that ranks at random", "refused before it judges")
def test_reranker_of_random_weights_is_refused(tmp_path):
    """Its folder is whole, with a head: nothing but a known pair tells."""
    model = str(make_tiny_cross_encoder(tmp_path / "random"))
    rule = {"rankers": ["cross_encoder"], "cross_encoder": model, "cross_encoder_tokens": 64}
    recipe = Recipe.model_validate({"name": "r", "relabel": rule, "retriever": {"device": "cpu"}})
    with Run(tmp_path / "run") as run:
        stages = prepare_candidates(
            run, PASSAGES, [("why do bees dance", "p0-3")], [["p0-3", "p0-1"]]
        )
        rankers = RankerSettings.select(recipe)
        with pytest.raises(UserError, match="ranks at random: of 32 passages"):
            make_judgements(
                run, rankers, "cross_encoder", *stages, lambda: None, tmp_path / "judged.sqlite"
            )
        assert not list((tmp_path / "run" / "judgements-cross_encoder").glob("*.parquet"))
