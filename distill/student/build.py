"""The untrained student: a transformer with all or some of its layers and tokens, pooling, unit
length."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Transformer
from torch import nn

from distill.errors import UserError
from distill.models.reference import identify_revision
from distill.models.sentence_transformer import load_sentence_model
from distill.recipe import Student
from distill.store.local_name import name_model
from distill.store.run import Run
from distill.store.stage import Stage
from distill.store.tables import PASSAGES, read_rows
from distill.student.base_model import (
    get_first_transformer,
    get_text_tokenizer,
    load_encoder,
    read_config,
)
from distill.student.bidirectional import check_attention, set_attention
from distill.student.layers import check_layers, resize_layers
from distill.student.left_out import warn_of_left_out_parts
from distill.student.pooling import check_prompts, make_pooling, prepare_tokenizer
from distill.student.saving import has_same_vectors, move_into_place, save_beside
from distill.student.vocabulary import prune_vocabulary


def build_base(run: Run, student: Student, seed: int, passages: Stage | None = None) -> Stage:
    """Build the stage `base`: the student before training, a sentence-transformers model.

    Args:
        passages: read where the vocabulary is cut down to the corpus.

    Raises:
        UserError: if the encoder cannot be read, does not have the layers asked for, cannot attend
            as asked, or comes back from disk as another model.
    """
    config = read_config(student.encoder)
    check_layers(student.layers, config.num_hidden_layers)
    corpus = _list_inputs(student, passages)
    stage = run.open_stage("base", fingerprint(student, seed), corpus)
    if stage.complete:
        return stage
    model = build_student(student, seed, read_vocabulary_texts(student, corpus))
    part = save_beside(stage, model)
    _check_reloaded(model, part, student)
    move_into_place(stage, part)
    stage.finish(**_count_figures(model, student, config.vocab_size))
    return stage


def fingerprint(student: Student, seed: int) -> dict[str, Any]:
    """Collect the settings that change the untrained student."""
    settings = student.list_fingerprinted(
        exclude={"lora", "symmetric", "route", "projection", "add_static"}
    )
    settings |= {
        "encoder": name_model(student.encoder),
        "revision": identify_revision(student.encoder),
    }
    return settings | {"seed": seed}


def build_student(
    student: Student, seed: int, texts: Iterable[str] | None = None
) -> SentenceTransformer:
    """Build the untrained student: transformer, pooling, a linear layer where `dimensions` asks for
    one, unit length.

    The same seed gives the same weights, also where the encoder's files lack some.

    Args:
        texts: whose tokens are kept; None: all tokens are.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformer = make_transformer(student, texts)
        width = transformer.get_embedding_dimension()
        modules: list[nn.Module] = [transformer, *make_pooling(student, width)]
        if student.dimensions is not None:
            # A bias would move all texts alike, which says nothing about any of them.
            modules.append(
                Dense(width, student.dimensions, bias=False, activation_function=nn.Identity())
            )
        modules.append(Normalize())
    prompts = student.text_format.make_prompts(student.default_task)
    check_prompts(get_text_tokenizer(transformer), student, list_prompts(student))
    model = SentenceTransformer(
        modules=modules, prompts=prompts, similarity_fn_name="cosine", device="cpu"
    )
    model.max_seq_length = min(model.max_seq_length or student.max_tokens, student.max_tokens)
    return model


def make_transformer(student: Student, texts: Iterable[str] | None) -> Transformer:
    """Make an encoder or a decoder, cut down and made to attend as asked."""
    encoder = load_encoder(student.encoder)
    warn_of_left_out_parts(encoder, student)
    transformer = get_first_transformer(encoder)
    if student.layers is not None:
        resize_layers(transformer.auto_model, student.layers)
    if texts is not None:
        transformer = prune_vocabulary(transformer, texts)
    prepare_tokenizer(get_text_tokenizer(transformer), student)
    set_attention(transformer, student)
    return transformer


def list_prompts(student: Student) -> list[str]:
    """Return what stands before a query of the default task, and before a document with and without
    a title."""
    form = student.text_format
    titled = form.write_document("", "title").prompt
    return [form.write_query_prompt(student.default_task), form.document_prompt, titled]


def _list_inputs(student: Student, passages: Stage | None) -> list[Stage]:
    """Return what the base depends on beside the recipe."""
    if student.vocabulary == "all":
        return []
    if passages is None:
        raise UserError(
            "student.vocabulary 'corpus'",
            "the recipe has no corpus whose tokens to keep",
            "set student.vocabulary: all, or name a corpus",
        )
    return [passages]


def read_vocabulary_texts(student: Student, corpus: list[Stage]) -> Iterator[str] | None:
    """Read the texts whose tokens are kept: the corpus as the student reads it, and its prompts.
    None: all tokens are.

    Args:
        corpus: the stage of the passages, or none where all tokens are kept.
    """
    if not corpus:
        return None
    form = student.text_format
    rows = (row for stage in corpus for row in read_rows(PASSAGES, stage.folder))
    documents = ("".join(form.write_document(row["text"], row["title"])) for row in rows)
    return (text for some in (list_prompts(student), documents) for text in some)


def _count_figures(
    model: SentenceTransformer, student: Student, rows_before: int
) -> dict[str, Any]:
    embedding: Any = get_first_transformer(model).model.get_input_embeddings()
    saved = (rows_before - embedding.num_embeddings) * embedding.embedding_dim
    return {
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "dimensions": model.get_embedding_dimension(),
        "max_tokens": model.max_seq_length,
        "attention": student.attention,
        "pooling": student.pooling,
        "vocabulary": embedding.num_embeddings,
        "vocabulary_before": rows_before,
        "parameters_saved": saved,
        "bytes_saved": saved * embedding.weight.element_size(),
    }


def _check_reloaded(model: SentenceTransformer, part: Path, student: Student) -> None:
    """Check that the student comes back from disk as it is. Some encoders build a layer by its
    number (a first layer without a norm, a window every third layer), and would come back from disk
    as something else."""
    reloaded = load_sentence_model(part, device="cpu")
    if not has_same_vectors(model, reloaded):
        raise UserError(
            f"student.encoder {student.encoder!r}",
            f"cannot be saved with student.layers {student.layers}: it loads as another model",
            "keep layer 0 and an even pattern of layers, or all of them",
        )
    check_attention(get_first_transformer(reloaded), student)
