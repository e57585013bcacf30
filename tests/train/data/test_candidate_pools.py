"""The candidates of queries as rows of the corpus, with their target distribution."""

import math

import pytest
import torch

from distill.errors import UserError
from distill.recipe import CorpusSoftmax, Student
from distill.train.data.candidate_pools import CandidatePools, make_query_examples
from distill.train.rows.examples import ScoredExample

IDS = ["p0", "p1", "p2", "p3"]


class Corpus:
    def find_known_numbers(self, ids):
        return {id_: IDS.index(id_) for id_ in ids if id_ in IDS}


def example(query, scores, positive="p1", others=("p3", "p0"), id_=None):
    row = {"query": query, "task": "Find.", "task_type": "search", "positive_id": positive}
    row |= {"query_id": id_ or query, "negative_ids": [], "negatives": []}
    return ScoredExample(row, scores, others)


def test_pool_holds_the_rows_and_the_softmax_of_the_scores():
    examples = make_query_examples(
        Student(), CorpusSoftmax(temperature=0.5), [example("q", [1.0, 0.5, 0.0])], Corpus()
    )
    pool = examples.pools.take(torch.tensor([0]))
    assert pool.rows.tolist() == [[1, 3, 0]]
    torch.testing.assert_close(pool.target, torch.tensor([[2.0, 1.0, 0.0]]).softmax(1))


def test_pools_of_other_lengths_are_filled_with_probability_0():
    pools = CandidatePools([[0], [2, 1, 3]], [[1.0], [0.0, 0.0, 0.0]], CorpusSoftmax())
    pool = pools.take(torch.tensor([1, 0]))
    torch.testing.assert_close(pool.target, torch.tensor([[1 / 3] * 3, [1, 0, 0]]))
    assert pool.rows[0].tolist() == [2, 1, 3]


def test_candidate_without_a_score_and_a_passage_of_no_corpus_are_left_out():
    rows = [example("q", [math.nan, 1.0, 2.0], others=("p3", "elsewhere")), example("r", [1, 1, 1])]
    examples = make_query_examples(Student(), CorpusSoftmax(), rows, Corpus())
    assert examples.pools.take(torch.tensor([0])).rows.tolist() == [[3]]
    assert len(examples.mixture.datasets["queries"]) == 2


def test_queries_are_all_that_is_encoded():
    rows = [example("one", [1, 1, 1]), example("two", [1, 1, 1]), example("one", [1, 1, 1])]
    mixture = make_query_examples(Student(), CorpusSoftmax(), rows, Corpus()).mixture
    assert [text.text for text in mixture.student_texts] == ["one", "two"]
    assert mixture.datasets["queries"]["query"][:] == [0, 1, 0]


def test_query_with_further_positives_is_trained_on_once():
    rows = [
        example("one", [1, 1, 1], id_="q1"),
        example("one", [2, 1, 1], "p2", ("p1", "p3"), id_="q1+2"),
        example("two", [1, 1, 1], id_="q2"),
        example("three", [1, 1, 1], id_="c+2"),  # no further positive of another query
    ]
    examples = make_query_examples(Student(), CorpusSoftmax(), rows, Corpus())
    assert examples.mixture.datasets["queries"]["query"][:] == [0, 1, 2]
    pool = examples.pools.take(torch.tensor([0]))
    assert pool.rows.tolist() == [[1, 3, 0, 2]]
    assert pool.target.argmax() == 3


@pytest.mark.bad_input("recipe", "a softmax over the corpus without any score", "named")
def test_queries_without_any_known_candidate_are_refused():
    with pytest.raises(UserError, match="no query of 1 has a candidate"):
        make_query_examples(Student(), CorpusSoftmax(), [example("q", [math.nan] * 3)], Corpus())
