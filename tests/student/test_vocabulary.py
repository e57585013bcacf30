"""A vocabulary cut down to a corpus: the same vectors for its texts, and words for all others."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import MINILM
from helpers.student_bases import load_student, make_base, make_student_recipe, write_passages
from helpers.tiny_architectures import make_tiny_decoder, make_tiny_modernbert
from helpers.tiny_models import TEXTS, make_tiny_encoder
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from distill.errors import UserError
from distill.store.run import Run
from distill.store.stage import Stage
from distill.student.build import build_base

CORPUS = TEXTS[:4]
ENCODERS: dict[str, Callable[[Path], Path]] = {
    "bert": lambda folder: make_tiny_encoder(folder),
    "modernbert, wordpiece": lambda folder: make_tiny_modernbert(folder, "wordpiece"),
    "modernbert, unigram": lambda folder: make_tiny_modernbert(folder, "unigram"),
    "modernbert, bpe with marks": lambda folder: make_tiny_modernbert(folder, "bpe"),
    "llama, bpe of bytes": lambda folder: make_tiny_decoder(folder),
    "gemma, scaled embeddings": lambda folder: make_tiny_decoder(folder, "gemma3_text"),
}
STRANGE = "Żółw 亀 🐢 qzx"


def cut(folder: Path, encoder: Path | str, texts: list[str], **student: object) -> Stage:
    with Run(folder) as run:
        recipe = make_student_recipe(encoder, vocabulary="corpus", **student)
        return build_base(run, recipe.student, recipe.seed, write_passages(run, texts))


def tokens(model: SentenceTransformer, text: str) -> list[str]:
    return model.tokenizer.convert_ids_to_tokens(model.tokenizer(text)["input_ids"])


@pytest.mark.parametrize("kind", ENCODERS)
def test_texts_of_kept_tokens_have_the_vectors_that_they_had(tmp_path, kind):
    encoder = ENCODERS[kind](tmp_path / "encoder")
    whole = load_student(make_base(tmp_path / "whole", encoder))
    stage = cut(tmp_path / "cut", encoder, CORPUS)
    small = load_student(stage)
    figures = stage.manifest["figures"]
    rows = small[0].model.get_input_embeddings().num_embeddings
    assert rows == small[0].model.config.vocab_size == len(small.tokenizer)
    assert figures["vocabulary"] == rows < figures["vocabulary_before"]
    assert figures["parameters_saved"] == (figures["vocabulary_before"] - rows) * 32
    assert figures["bytes_saved"] == 4 * figures["parameters_saved"]
    parts = [text for whole_text in CORPUS for text in whole_text.split(" ")]
    for text in [*CORPUS, *parts]:
        if set(tokens(whole, text)) <= set(small.tokenizer.get_vocab()):
            assert tokens(small, text) == tokens(whole, text)
    assert all(tokens(small, text) == tokens(whole, text) for text in CORPUS)
    assert np.allclose(small.encode(CORPUS), whole.encode(CORPUS), atol=1e-6)


@pytest.mark.parametrize("kind", ENCODERS)
def test_text_that_had_tokens_still_has(tmp_path, kind):
    encoder = ENCODERS[kind](tmp_path / "encoder")
    whole = load_student(make_base(tmp_path / "whole", encoder))
    small = load_student(cut(tmp_path / "cut", encoder, CORPUS))
    for text in [*TEXTS, STRANGE]:
        unknown = small.tokenizer.unk_token
        assert (unknown in tokens(small, text)) == (unknown in tokens(whole, text))
        assert tokens(small, text) != []
    assert np.isfinite(small.encode([*TEXTS, STRANGE])).all()


def test_prompts_and_an_appended_end_survive(tmp_path):
    make_tiny_decoder(tmp_path / "decoder")
    student = {"pooling": "last", "document_prompt": "Zebra: "}
    model = load_student(cut(tmp_path / "run", tmp_path / "decoder", CORPUS, **student))
    whole = load_student(make_base(tmp_path / "whole", tmp_path / "decoder", **student))
    assert tokens(model, CORPUS[0])[-1] == "</s>"
    assert tokens(model, "Zebra: " + CORPUS[0]) == tokens(whole, "Zebra: " + CORPUS[0])


def test_base_differs_by_corpus(tmp_path, encoder_folder):
    cut(tmp_path / "run", encoder_folder, CORPUS)
    with Run(tmp_path / "run", "stale") as run:
        stage = run.open_stage("passages", {"another": True})
        stage.finish()
        recipe = make_student_recipe(encoder_folder, vocabulary="corpus")
        fresh = build_base(run, recipe.student, recipe.seed, stage)
        assert fresh.manifest["inputs"] == {"passages": stage.fingerprint}


def test_whole_vocabulary_asks_for_no_corpus(tmp_path, encoder_folder):
    with Run(tmp_path) as run:
        recipe = make_student_recipe(encoder_folder)
        stage = build_base(run, recipe.student, recipe.seed)
    assert stage.manifest["inputs"] == {}
    assert stage.manifest["figures"]["parameters_saved"] == 0


def test_recipe_without_a_corpus_is_refused(tmp_path, encoder_folder):
    recipe = make_student_recipe(encoder_folder, vocabulary="corpus")
    with Run(tmp_path) as run, pytest.raises(UserError, match="no corpus whose tokens"):
        build_base(run, recipe.student, recipe.seed)


@pytest.mark.bad_input("models", "a tokenizer of whole words, to be cut", "refused")
def test_tokenizer_of_whole_words_is_refused(tmp_path):
    make_tiny_modernbert(tmp_path / "encoder", "wordpiece")
    words = {"[UNK]": 0, "[PAD]": 1, **{f"w{i}": i for i in range(2, 40)}}
    PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="[UNK]")),
        unk_token="[UNK]",
        pad_token="[PAD]",
    ).save_pretrained(tmp_path / "encoder")
    with pytest.raises(UserError, match=r"\(WordLevel\)") as caught:
        cut(tmp_path / "run", tmp_path / "encoder", CORPUS)
    assert "vocabulary: all" in caught.value.remedy


@pytest.mark.slow
def test_minilm_loses_its_unused_rows_and_keeps_its_vectors(tmp_path):
    whole = load_student(make_base(tmp_path / "whole", MINILM))
    stage = cut(tmp_path / "cut", MINILM, TEXTS)
    assert np.allclose(load_student(stage).encode(TEXTS), whole.encode(TEXTS), atol=1e-6)
    assert stage.manifest["figures"]["vocabulary"] < 4000
