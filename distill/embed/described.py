"""An encoder that workers hold: the process that writes the run knows what one of them has said of
it, and opens it only where it has to compute with it itself."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from typing import NamedTuple
from weakref import WeakKeyDictionary

from distill.embed.encoder import Embedder, Encoder, EncoderIdentity, EncoderSource, Vectors
from distill.embed.on_workers import hold
from distill.embed.wording import EmbedderPrompts
from distill.runtime.progress import show_activity
from distill.text.format import Side
from distill.workers.protocol import OpenWork, WorkerJob, Workers


class EncoderDescription(NamedTuple):
    """The properties of an open encoder that are needed to give it work (see `Encoder` and
    `Embedder`)."""

    dimensions: int
    normalizes: bool
    pools_prompts: bool
    wording: EmbedderPrompts
    identity: EncoderIdentity
    reference: str
    template_key: str
    document_identity: EncoderIdentity | None = None


class DescribedEmbedder:
    """An embedder that is opened when this process needs it first.

    Args:
        open_here: opens it in this process.
    """

    def __init__(self, description: EncoderDescription, open_here: Callable[[], Encoder]) -> None:
        self.dimensions = description.dimensions
        self.normalizes = description.normalizes
        self.pools_prompts = description.pools_prompts
        self._open_here = open_here

    @cached_property
    def _embedder(self) -> Embedder:
        return self._open_here().embedder

    def describe_identity(self, prompt: str, side: Side | None) -> dict[str, str | int]:
        """Return what changes a text's vector (see `Embedder`)."""
        return self._embedder.describe_identity(prompt, side)

    def embed(self, texts: Sequence[str], prompt: str, side: Side | None) -> Vectors:
        """Embed texts in this process (see `Embedder`)."""
        return self._embedder.embed(texts, prompt, side)


_described: WeakKeyDictionary[Workers, dict[str, EncoderDescription]] = WeakKeyDictionary()
"""What workers have said of encoders, by their sources: a run asks once."""


def open_described(
    source: EncoderSource, workers: Workers, open_here: Callable[[], Encoder]
) -> Encoder:
    """Open an encoder on a worker alone.

    Args:
        open_here: opens it in this process.

    Raises:
        UserError: as the encoder's opening, on the worker.
    """
    known = _described.setdefault(workers, {})
    if str(source) not in known:
        known[str(source)] = _ask(source, workers)
    description = known[str(source)]
    return Encoder(
        DescribedEmbedder(description, open_here),
        description.wording,
        description.identity,
        description.reference,
        description.template_key,
        source=source,
        document_identity=description.document_identity,
    )


def _ask(source: EncoderSource, workers: Workers) -> EncoderDescription:
    opens = partial(_open_description, source)
    job = WorkerJob(f"open {source.reference}", opens, [[None]], source.needs)
    with workers.begin(job) as team, show_activity(job.name):
        [(_, [description], _)] = team.iterate_results(lambda: False)
    return description


@contextmanager
def _open_description(source: EncoderSource) -> Iterator[OpenWork[None, EncoderDescription]]:
    encoder = source.open()
    hold(encoder, source)
    embedder = encoder.embedder
    description = EncoderDescription(
        embedder.dimensions,
        embedder.normalizes,
        embedder.pools_prompts,
        encoder.wording,
        encoder.identity,
        encoder.reference,
        encoder.template_key,
        encoder.document_identity,
    )
    yield OpenWork(lambda batch: [description])
