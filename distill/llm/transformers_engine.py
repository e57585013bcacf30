"""The transformers engine: any causal model that transformers loads, on a CPU or a GPU.

What the prompts of one call have in common at their beginning (the few-shot header) is computed
once and kept for the next call; prompts are sorted by length and batched by a token budget.
"""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache, GenerationConfig, LogitsProcessorList, StoppingCriteriaList

from distill.devices import best_device, torch_dtype
from distill.errors import UserError
from distill.llm.cache import cache_behind
from distill.llm.loading import load_causal_lm
from distill.llm.packing import Packed, batches, collate, pack
from distill.llm.protocol import Sampling, Score, ScoreRequest, Written
from distill.llm.sampling import SeededSampling, StopStrings, cut_at_stop
from distill.models import resolve

_SHORTEST_HEADER = 16
"""Fewer shared tokens are not worth a cache."""
_LOGIT_ROWS = 2048
"""Rows of vocabulary-wide logits held at once."""
_TOLERANCE = {torch.float32: 1e-2, torch.bfloat16: 1.0, torch.float16: 0.3}


class TransformersEngine:
    """An `LLM` (see protocol) computed in this process.

    Raises:
        UserError: if the reference holds no causal model, or one whose attention cannot be packed
            (found out by scoring a short probe both ways when the model is loaded).
    """

    can_score = True

    def __init__(
        self,
        reference: str,
        dtype: str = "auto",
        device: str | None = None,
        batch_tokens: int = 4096,
    ) -> None:
        self.name = reference
        self.device = device or best_device()
        self.batch_tokens = batch_tokens
        self.tokens = {"prompt": 0, "shared": 0, "new": 0}
        self.model: Any  # transformers types neither generate nor the head of its auto classes
        self.model, self.tokenizer = load_causal_lm(
            resolve(reference), torch_dtype(dtype, self.device), self.device
        )
        self._header: list[int] = []
        self._header_cache: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._probe()

    # --- generation ---------------------------------------------------------------------------

    @torch.inference_mode()
    def generate(
        self, prompts: Sequence[str], seeds: Sequence[int], sampling: Sampling
    ) -> list[Written]:
        ids = [self._ids(prompt, first=True) for prompt in prompts]
        header = self._shared_header(ids)
        longest_first = sorted(range(len(ids)), key=lambda i: (-len(ids[i]), i))
        texts = [Written("", False)] * len(prompts)
        start = 0
        while start < len(ids):
            own = len(ids[longest_first[start]]) - len(header) + sampling.max_new_tokens
            size = max(1, self.batch_tokens // own)
            batch = longest_first[start : start + size]
            written = self._generate_batch(
                [ids[i] for i in batch], [seeds[i] for i in batch], len(header), sampling
            )
            for i, text in zip(batch, written, strict=True):
                texts[i] = text
            start += size
        return texts

    def _generate_batch(
        self, ids: list[list[int]], seeds: list[int], header: int, sampling: Sampling
    ) -> list[Written]:
        """Padding goes between the shared header and the rest, so that all prompts end together."""
        width = max(len(row) for row in ids)
        input_ids = torch.full((len(ids), width), self._pad_id)
        mask = torch.zeros_like(input_ids)
        for number, row in enumerate(ids):
            rest = width - (len(row) - header)
            input_ids[number, :header] = torch.tensor(row[:header], dtype=torch.long)
            input_ids[number, rest:] = torch.tensor(row[header:])
            mask[number, :header] = 1
            mask[number, rest:] = 1
        processors, stopping = LogitsProcessorList(), StoppingCriteriaList()
        if sampling.temperature > 0:
            processors.append(SeededSampling(seeds, width, sampling))
        if sampling.stop:
            stopping.append(StopStrings(self.tokenizer, width, sampling.stop))
        output = self.model.generate(
            input_ids=input_ids.to(self.device),
            attention_mask=mask.to(self.device),
            past_key_values=self._cache_for(len(ids), width - header + sampling.max_new_tokens),
            generation_config=self._generation_config(sampling),
            logits_processor=processors,
            stopping_criteria=stopping,
        )
        new = output[:, width:]
        self.tokens["prompt"] += sum(len(row) for row in ids)
        self.tokens["shared"] += header * len(ids)
        ended = (new == self._end_id).any(dim=1).tolist()
        self.tokens["new"] += int((new != self._pad_id).sum())
        decoded = self.tokenizer.batch_decode(new, skip_special_tokens=True)
        cut = [cut_at_stop(text, sampling.stop) for text in decoded]
        return [
            Written(text, end or len(text) < len(whole))
            for text, end, whole in zip(cut, ended, decoded, strict=True)
        ]

    def _generation_config(self, sampling: Sampling) -> GenerationConfig:
        return GenerationConfig(
            max_new_tokens=sampling.max_new_tokens,
            do_sample=False,
            pad_token_id=self._pad_id,
            eos_token_id=self._end_id,
        )

    # --- scoring ------------------------------------------------------------------------------

    @torch.inference_mode()
    def score(self, requests: Sequence[ScoreRequest]) -> list[list[Score]]:
        prefixes = [self._ids(request.prefix, first=True) for request in requests]
        continuations = [
            [self._ids(text, first=False) for text in request.continuations] for request in requests
        ]
        for request, several in zip(requests, continuations, strict=True):
            if not all(several):
                raise UserError("score", f"an empty continuation of {request.prefix[-60:]!r}", "")
        header = self._shared_header(prefixes)
        rest = [prefix[len(header) :] for prefix in prefixes]
        scores: list[list[Score]] = [[Score(0.0, 0)] * len(c) for c in continuations]
        for rows in batches(pack(rest, continuations, self.batch_tokens), self.batch_tokens):
            self._score_rows(rows, len(header), scores)
        self._count(prefixes, continuations, len(header))
        return scores

    def _score_rows(self, rows: list[Packed], header: int, scores: list[list[Score]]) -> None:
        batch = collate(rows, header, self._pad_id)
        hidden = self.model.base_model(
            input_ids=batch.input_ids.to(self.device),
            position_ids=batch.position_ids.to(self.device),
            attention_mask=batch.mask.to(self.device),
            past_key_values=self._cache_for(len(rows), batch.input_ids.shape[1]),
            use_cache=bool(header),
        ).last_hidden_state
        predictors = hidden[batch.token_rows, batch.token_places]
        logprobs = self._logprobs(predictors, batch.token_ids.to(self.device))
        at = 0
        for row in rows:
            for number, continuation in enumerate(row.continuations, start=row.first):
                total = float(logprobs[at : at + len(continuation)].sum(dtype=torch.float64))
                scores[row.request][number] = Score(total, len(continuation))
                at += len(continuation)

    def _logprobs(self, hidden: torch.Tensor, token_ids: torch.Tensor) -> torch.Tensor:
        """log P of each token, (tokens, width) -> (tokens,): the LM head on these places alone."""
        head = self.model.get_output_embeddings()
        parts = []
        for some, ids in zip(hidden.split(_LOGIT_ROWS), token_ids.split(_LOGIT_ROWS), strict=True):
            logits = head(some).float()
            parts.append(-torch.nn.functional.cross_entropy(logits, ids, reduction="none"))
        return torch.cat(parts).cpu()

    def _count(
        self, prefixes: list[list[int]], continuations: list[list[list[int]]], header: int
    ) -> None:
        """`shared` is what one full prompt a pair would have computed over again."""
        for prefix, several in zip(prefixes, continuations, strict=True):
            pairs = len(several)
            self.tokens["prompt"] += pairs * len(prefix) + sum(len(c) for c in several)
            self.tokens["shared"] += header * pairs + (len(prefix) - header) * (pairs - 1)

    # --- what both share ----------------------------------------------------------------------

    @property
    def _pad_id(self) -> int:
        return int(self.tokenizer.pad_token_id)

    @property
    def _end_id(self) -> int:
        return int(self.tokenizer.eos_token_id)

    def _ids(self, text: str, first: bool) -> list[int]:
        """Token ids; only what begins a prompt takes the model's own beginning (a BOS token)."""
        return list(self.tokenizer(text, add_special_tokens=first)["input_ids"])

    def _shared_header(self, prompts: list[list[int]]) -> list[int]:
        """What all prompts begin with, short of each one's last token; its cache is made ready."""
        shared = _common_beginning(prompts) if len(prompts) > 1 else []
        if len(shared) < _SHORTEST_HEADER:
            self._header, self._header_cache = [], []
            return []
        if shared != self._header:
            output = self.model.base_model(
                input_ids=torch.tensor([shared], device=self.device), use_cache=True
            )
            layers = output.past_key_values.layers
            self._header_cache = [(layer.keys, layer.values) for layer in layers]
            self._header = shared
        return shared

    def _cache_for(self, rows: int, room: int) -> DynamicCache | None:
        return cache_behind(self._header_cache, rows, room) if self._header_cache else None

    @torch.inference_mode()
    def _probe(self) -> None:
        """Score a short text packed and plainly: a model that reads masks in its own way, caps
        its logits or keeps a state must be refused here, not found out by bad labels."""
        prefix, continuations = "The river rose in the night and", (" flooded the field.", " fell")
        packed = self.score([ScoreRequest(prefix, continuations)])[0]
        for text, score in zip(continuations, packed, strict=True):
            start = self._ids(prefix, first=True)
            ids = torch.tensor([start + self._ids(text, first=False)], device=self.device)
            logits = self.model(input_ids=ids).logits[0, len(start) - 1 : -1].float()
            plain = logits.log_softmax(-1).gather(1, ids[0, len(start) :, None]).sum()
            if abs(float(plain) - score.logprob) > _TOLERANCE[self.model.dtype]:
                raise UserError(
                    self.name,
                    f"scores {score.logprob:.3f} when packed but {float(plain):.3f} alone: its "
                    "attention does not take a mask, or its logits are transformed",
                    "use another model for this engine",
                )
        self.tokens = dict.fromkeys(self.tokens, 0)


def _common_beginning(prompts: list[list[int]]) -> list[int]:
    """The longest run of tokens that all begin with, short of each one's last token. The first
    and the last prompt in sorting order differ from each other no later than any two do."""
    low, high = min(prompts), max(prompts)
    most = min(len(prompt) for prompt in prompts) - 1
    shared = 0
    while shared < most and low[shared] == high[shared]:
        shared += 1
    return low[:shared]
