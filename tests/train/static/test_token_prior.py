"""Where token vectors begin: the teacher's vectors of single tokens, by their rarity."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from distill.student.static.tokens import count_tokens
from distill.train.static.token_prior import make_token_prior, measure_frequencies


@pytest.fixture
def counts() -> csr_array:
    words = ["[UNK]", "the", "heart", "of", "never"]
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    return count_tokens(tokenizer, ["the heart of the the", "the of", "of heart the", ""])


def test_tokens_frequency_is_its_share_of_all_tokens(counts):
    np.testing.assert_allclose(measure_frequencies(counts), [0, 0.5, 0.2, 0.3, 0], atol=1e-12)


def test_no_text_has_no_frequency():
    assert not measure_frequencies(csr_array((2, 3))).any()


def test_rare_token_keeps_its_vector_and_a_common_one_little_of_it(counts):
    alone = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    prior = make_token_prior(counts, [1, 2, 3, 4], alone)
    centred = alone - alone.mean(axis=0)
    assert prior.dtype == np.float32
    assert not prior[0].any(), "it cannot be written alone"
    np.testing.assert_allclose(prior[4], centred[3], rtol=1e-6)
    np.testing.assert_allclose(prior[1], centred[0] * 0.001 / 0.501, rtol=1e-5)


def test_token_prior_is_zero_where_no_token_can_be_written_alone(counts):
    prior = make_token_prior(counts, [], np.zeros((0, 6), np.float32))
    assert prior.shape == (5, 6)
    assert not prior.any()
