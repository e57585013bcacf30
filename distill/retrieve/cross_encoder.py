"""A cross-encoder as a ranker: one small model reads query and passage together and scores the pair
(as GPL, Wang et al. 2022, section 3.1, scores its pairs)."""

from collections.abc import Iterator, Sequence

import torch
from sentence_transformers import CrossEncoder
from sentence_transformers.base.modules import Transformer

from distill.embed.batches import batch_by_length, get_default_batch_tokens
from distill.errors import UserError, quote_fault
from distill.models.reference import identify_revision, resolve
from distill.models.remote_code import find_needed_code
from distill.models.sentence_transformer import refuse_missing_weights, refuse_pickles
from distill.runtime.devices import free_gpu_memory, raise_device_faults
from distill.runtime.out_of_memory import (
    halve_on_out_of_memory,
    is_out_of_memory,
    name_too_large,
)
from distill.store.local_name import name_model

TextPair = tuple[str, str]
_REMEDY = "choose a CrossEncoder with one label, such as cross-encoder/ms-marco-MiniLM-L6-v2"


class CrossEncoderJudge:
    """A sentence-transformers CrossEncoder with one label, in float32.

    `identity` changes whenever the scores of a pair would. Pairs longer than `max_tokens` lose the
    end of their longer text, which is the passage.

    Raises:
        UserError: if the model cannot be loaded as one, was never trained as one, or has several
            labels.
    """

    def __init__(self, reference: str, max_tokens: int, device: str | None = None) -> None:
        self.model = _load_model(reference, device)
        _check_head(self.model, reference)
        _check_weights(self.model, reference)
        self._max_tokens = min(self.model.max_seq_length or max_tokens, max_tokens)
        self.model.max_seq_length = self._max_tokens
        self.identity: dict[str, object] = {
            "model": name_model(reference),
            "revision": identify_revision(reference),
            "max_tokens": self._max_tokens,
        }
        self._batch_tokens = get_default_batch_tokens(self.model.device.type)

    def judge(self, requests: Sequence[tuple[str, Sequence[str]]]) -> list[list[tuple[float, int]]]:
        """Judge each passage and its queries: (logit, 0 tokens). The logit is raw: a sigmoid, which
        many such models end in, would round clear cases to equal scores."""
        pairs = [(query, passage) for passage, queries in requests for query in queries]
        scores = iter(self._score(pairs))
        return [[(next(scores), 0) for _ in queries] for _, queries in requests]

    def _score(self, pairs: Sequence[TextPair]) -> list[float]:
        scores = [0.0] * len(pairs)
        where = f"model {self.identity['model']!r}"

        def score(batch: Sequence[int]) -> None:
            logits = self.model.predict(
                [pairs[i] for i in batch],
                batch_size=len(batch),
                activation_fn=torch.nn.Identity(),
                show_progress_bar=False,
            )
            for i, logit in zip(batch, logits, strict=True):
                scores[i] = float(logit)

        with raise_device_faults(where):
            for batch in self._make_batches(pairs):
                halve_on_out_of_memory(score, batch, where, "relabel.cross_encoder_tokens")
        return scores

    def _make_batches(self, pairs: Sequence[TextPair]) -> Iterator[list[int]]:
        """Batch the numbers of pairs, longest first, by a budget of tokens that includes
        padding."""
        if not pairs:
            return
        queries, passages = zip(*pairs, strict=True)
        tokenized = self.model.tokenizer(
            list(queries), list(passages), truncation=True, max_length=self._max_tokens
        )
        lengths = [len(ids) for ids in tokenized["input_ids"]]
        yield from batch_by_length(lengths, self._batch_tokens)


def _load_model(reference: str, device: str | None) -> CrossEncoder:
    folder = resolve(reference)
    free_gpu_memory()  # of models of earlier stages
    try:
        refuse_pickles(folder)
        # In half precision a score would depend on the batch that its pair is in.
        with name_too_large(f"model {reference!r}"):
            return CrossEncoder(
                str(folder),
                device=device,
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"dtype": torch.float32, "use_safetensors": True},
            )
    except Exception as fault:  # libraries raise anything for a damaged file
        if is_out_of_memory(fault):
            raise
        code = find_needed_code(folder, fault)
        raise UserError(
            f"model {reference!r}",
            code or f"cannot be loaded as a cross-encoder: {quote_fault(fault)}",
            _REMEDY,
        ) from fault


def _check_head(model: CrossEncoder, reference: str) -> None:
    if model.num_labels != 1:
        raise UserError(
            f"model {reference!r}",
            f"gives a pair {model.num_labels} labels, not one score",
            _REMEDY,
        )
    # Any encoder loads, with a last layer of random weights where it has none.
    architectures = (model.config and model.config.architectures) or []
    trained = any(name.endswith("ForSequenceClassification") for name in architectures)
    if isinstance(model[-1], Transformer) and not trained:
        raise UserError(
            f"model {reference!r}",
            f"was not trained to score pairs: it is a {', '.join(architectures) or 'bare model'}",
            _REMEDY,
        )


def _check_weights(model: CrossEncoder, reference: str) -> None:
    """Refuse files that lack weights, which would be random ones."""
    for module in model:
        if isinstance(module, Transformer):
            try:
                refuse_missing_weights(module, resolve(reference))
            except ValueError as fault:
                raise UserError(f"model {reference!r}", str(fault), "download it again") from fault
