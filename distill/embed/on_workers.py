"""Embedding as a job for workers, each of which opens the encoder of the process that sent it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from typing import Any

import numpy as np

from distill.embed.encoder import Encoder, EncoderIdentity, EncoderSource, Vectors
from distill.errors import UserError
from distill.runtime.devices import free_memory
from distill.text.format import Side
from distill.workers.held_model import keep_beside
from distill.workers.protocol import HERE, LazyBatches, OpenWork, ShareFormat, WorkerJob


def make_embedding_job(
    name: str,
    encoder: Encoder,
    side: Side,
    texts: Sequence[str],
    starts: Sequence[int],
    size: int,
    key: str,
) -> WorkerJob[list[str], Vectors]:
    """Make the job that gives the unit vectors of chunks of texts, (texts, dimensions) each.

    Args:
        texts: read chunk by chunk, when a worker is given one.
        starts: the first rows of the chunks.
        size: texts in a chunk; the last one holds those that are left.
        key: names these vectors, in every process.
    """
    source = getattr(encoder, "source", None)  # an object of the program has none
    needs = HERE if source is None else source.needs
    opens = partial(_open_encoder, SentEncoder(encoder), side)

    def read(number: int) -> list[list[str]]:
        start = starts[number]
        return [list(texts[start : min(start + size, len(texts))])]

    share = ShareFormat(key, lambda number: [f"rows-{starts[number]}"], _pack, _unpack)
    return WorkerJob(name, opens, LazyBatches(len(starts), read), needs, share=share)


def _pack(vectors: Vectors) -> bytes:
    file = BytesIO()
    np.save(file, vectors, allow_pickle=False)
    return file.getvalue()


def _unpack(content: bytes) -> Vectors:
    vectors: Vectors = np.load(BytesIO(content), allow_pickle=False)
    return vectors


def check_same_vectors(encoder: Encoder, identity: EncoderIdentity) -> None:
    """Refuse an encoder of a worker that computes other vectors than that of the process which
    writes the run.

    Raises:
        UserError: naming what differs, such as the dtype where one of them has no GPU.
    """
    own = encoder.identity
    differs = [key for key in {**identity, **own} if identity.get(key) != own.get(key)]
    if not differs:
        return
    here, there = ({key: of.get(key) for key in differs} for of in (own, identity))
    raise UserError(
        f"model {encoder.reference!r}",
        f"would give other vectors on a worker ({here}) than in the process that writes the run "
        f"({there})",
        "set the model's dtype in the recipe, and have the same files on all machines",
    )


class SentEncoder:
    """An open encoder, which a worker that it is sent to opens again."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.encoder.source, self.encoder.identity)


class _HeldEncoder:
    """An encoder that a worker keeps from stage to stage."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder: Encoder | None = encoder

    def close(self) -> None:
        """Free its memory, if nothing else uses it."""
        self.encoder = None
        free_memory()


def open_on_worker(source: EncoderSource, identity: EncoderIdentity) -> Encoder:
    """Open an encoder in a worker, or take the one that it holds already.

    Args:
        identity: of the encoder in the process that writes the run.

    Raises:
        UserError: as `check_same_vectors`, or as the encoder's opening.
    """
    encoder = keep_beside(_make_key(source, identity), lambda: _HeldEncoder(source.open())).encoder
    assert encoder is not None  # what is closed is not kept
    check_same_vectors(encoder, identity)
    return encoder


def hold(encoder: Encoder, source: EncoderSource) -> None:
    """Keep an open encoder for the stages that come, as `open_on_worker` does."""
    keep_beside(_make_key(source, encoder.identity), lambda: _HeldEncoder(encoder))


def _make_key(source: EncoderSource, identity: EncoderIdentity) -> str:
    return f"encoder {source} {identity}"


def _reopen(source: EncoderSource, identity: EncoderIdentity) -> SentEncoder:
    return SentEncoder(open_on_worker(source, identity))


@contextmanager
def _open_encoder(sent: SentEncoder, side: Side) -> Iterator[OpenWork[list[str], Vectors]]:
    encode = sent.encoder.encode_prompted
    yield OpenWork(lambda chunks: [encode(texts, side) for texts in chunks])
