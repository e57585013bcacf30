"""The tokenizer of a static student."""

import numpy as np
import pytest
from helpers.tiny_models import TEXTS

from distill.errors import UserError
from distill.recipe import Student
from distill.student.static.tokens import (
    count_tokens,
    count_vectors,
    find_unknown_token,
    make_tokenizer,
    spell_tokens,
)


def student_of(folder, **keys) -> Student:
    return Student(encoder=str(folder), **keys)


@pytest.fixture
def tokenizer(encoder_folder):
    return make_tokenizer(student_of(encoder_folder), None)


def test_token_counts_by_the_root_of_its_texts_length(tokenizer):
    texts = [*TEXTS, "", "bees bees bees"]
    counts = count_tokens(tokenizer, texts).toarray()
    assert counts.shape == (len(texts), count_vectors(tokenizer))
    lengths = [len(row.ids) for row in tokenizer.encode_batch(texts, add_special_tokens=False)]
    np.testing.assert_allclose(counts.sum(1), np.sqrt(lengths))
    ids = tokenizer.encode("bees", add_special_tokens=False).ids
    np.testing.assert_allclose(counts[-1, ids], 3 / np.sqrt(3 * len(ids)))


def test_tokens_of_the_texts_alone_are_left_and_read_as_before(encoder_folder, tokenizer):
    pruned = make_tokenizer(student_of(encoder_folder), TEXTS[:2])
    assert count_vectors(pruned) < count_vectors(tokenizer)
    for text in TEXTS[:2]:
        assert pruned.encode(text).tokens == tokenizer.encode(text).tokens


def test_text_is_cut_off_where_the_recipe_says(encoder_folder):
    tokenizer = make_tokenizer(student_of(encoder_folder, max_tokens=5), None)
    assert len(tokenizer.encode(TEXTS[0], add_special_tokens=False).ids) == 5


def test_token_is_spelled_as_a_text_of_its_own(tokenizer):
    unknown = find_unknown_token(tokenizer)
    ids = tokenizer.encode(TEXTS[0], add_special_tokens=False).ids
    words = spell_tokens(tokenizer, [*ids, unknown])
    assert words[-1] == ""
    assert not any(word.startswith("##") for word in words)
    assert "".join(words) == TEXTS[0].lower().replace(" ", "")


def test_byte_of_a_character_is_no_text(llm_folder):
    tokenizer = make_tokenizer(student_of(llm_folder), None)
    assert find_unknown_token(tokenizer) is None
    part, whole = (
        tokenizer.encode("é", add_special_tokens=False).ids[0],
        tokenizer.encode("h").ids[-1],
    )
    assert spell_tokens(tokenizer, [part, whole]) == ["", "h"]


@pytest.mark.bad_input("model", "a static student of a model without tokenizer", "named")
def test_model_without_a_tokenizer_is_refused(tmp_path, encoder_folder):
    (tmp_path / "config.json").write_text((encoder_folder / "config.json").read_text())
    with pytest.raises(UserError, match="tokenizer"):
        make_tokenizer(student_of(tmp_path), None)
