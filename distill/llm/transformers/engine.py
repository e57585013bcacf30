"""The transformers engine: any causal model that transformers loads, on a CPU or a GPU.

The beginning that prompts share (few-shot headers, a chat template) is computed once and cached for
the next call. Generation batches continuously; scoring sorts by length and batches by a token
budget.
"""

import logging
import math
from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any

import torch
from llguidance import LLTokenizer

from distill.errors import UserError
from distill.llm.protocol import Completion, Sampling, Score, ScoreRequest
from distill.llm.score_tokens import ScoreTokens, score_fitting, tokenize_request
from distill.llm.thoughts import cut_at_stop
from distill.llm.tokenization import PromptTokenizer
from distill.llm.transformers.continuous_batching import ContinuousBatcher, GenerationRow
from distill.llm.transformers.kv_cache import Layer, make_cache_argument, make_preallocated_cache
from distill.llm.transformers.packing import (
    PackedBatch,
    PackedRow,
    batch_rows,
    collate_rows,
    pack_rows,
)
from distill.llm.transformers.prefix_cache import PrefixCache, count_common_tokens
from distill.llm.transformers.sampling import StopStrings, draw_uniform_numbers
from distill.llm.transformers.slots import Mask, Slots, make_layer_mask
from distill.llm.transformers.structured_output import (
    Constraint,
    make_llguidance_tokenizer,
    supports_structured_output,
)
from distill.models.causal_lm import make_model_folder
from distill.models.loading import load_causal_lm
from distill.runtime.devices import choose_device, free_memory, get_torch_dtype, raise_device_faults
from distill.runtime.out_of_memory import (
    explain_too_large,
    halve_on_out_of_memory,
    has_run_out,
    warn_of_halving,
)
from distill.runtime.progress import count_requests

_log = logging.getLogger(__name__)
_MIN_HEADER_TOKENS = 16
"""Fewer shared tokens than this are not worth a cache."""
_LOGIT_ROWS = 256
"""Rows of vocabulary-wide logits in memory at once: few enough for a CPU's caches."""
_TOO_LONG = "the prompt and max_new_tokens are longer than what the model can read"
_CPU_BATCH_TOKENS = 4096
_GPU_BATCH_TOKENS = 16_384
_TOLERANCE = {torch.float32: 1e-2, torch.bfloat16: 1.0, torch.float16: 0.3}


class TransformersEngine:
    """An `LLM` (see protocol) computed in this process.

    Args:
        batch_tokens: tokens per forward pass; the cache of a running batch of generation has six
            times as many. None: what suits the device.

    Raises:
        UserError: if the reference holds no causal model, or one that cannot be packed or computed
            token by token (a short probe is scored in all ways when the model is loaded).
    """

    can_score = True
    can_compare_verdicts = True

    def __init__(
        self,
        reference: str,
        dtype: str = "auto",
        device: str | None = None,
        batch_tokens: int | None = None,
    ) -> None:
        self.name = reference
        self.device = device or choose_device()
        suits = _CPU_BATCH_TOKENS if self.device == "cpu" else _GPU_BATCH_TOKENS
        self.batch_tokens = self._generation_tokens = batch_tokens or suits
        self.tokens = {"prompt": 0, "shared": 0, "new": 0}
        self.model: Any  # transformers does not type the head of its auto classes
        self.tokenizer: Any
        torch_type = get_torch_dtype(dtype, self.device)
        folder = make_model_folder(reference, torch_type)
        self.model, self.tokenizer = load_causal_lm(folder, torch_type, self.device)
        self.prompt_tokenizer = PromptTokenizer(self.tokenizer, reference)
        self.has_chat = self.prompt_tokenizer.has_chat
        self.supports_regex = self.supports_schema = supports_structured_output(self.tokenizer)
        self.prefix_cache = PrefixCache(self.model)
        self._score_prefix_cache = PrefixCache(self.model, max_bytes=0)
        self._probe()

    # --- generation ---------------------------------------------------------------------------

    @torch.inference_mode()
    def generate(
        self, prompts: Sequence[str], seeds: Sequence[int], sampling: Sampling
    ) -> list[Completion]:
        """Generate texts; see the protocol. A prompt that is longer than the model can read gets a
        fault.

        Raises:
            UserError: if a prompt is empty, the chat template fails, or the regular expression or
                JSON schema cannot be used.
        """
        ids = [self._tokenize_prompt(prompt, sampling) for prompt in prompts]
        max_prompt = self._max_tokens - sampling.max_new_tokens
        fitting = [number for number, row in enumerate(ids) if len(row) <= max_prompt]
        rows = self._make_rows([ids[n] for n in fitting], [seeds[n] for n in fitting], sampling)
        with raise_device_faults(f"model {self.name!r}"):
            self._generate_rows(rows, sampling)
        results = [Completion("", False, _TOO_LONG)] * len(prompts)
        for number, row in zip(fitting, rows, strict=True):
            results[number] = self._make_completion(row, sampling)
        return results

    def _make_rows(
        self, ids: list[list[int]], seeds: list[int], sampling: Sampling
    ) -> list[GenerationRow]:
        constraint = self._make_constraint(sampling)
        headers = self.prefix_cache.find_lengths(ids)
        return [
            GenerationRow(
                row,
                header,
                draw_uniform_numbers(seed, sampling),
                constraint.make_matcher() if constraint else None,
            )
            for row, header, seed in zip(ids, headers, seeds, strict=True)
        ]

    def _generate_rows(self, rows: list[GenerationRow], sampling: Sampling) -> None:
        """Generate all rows. Where memory does not suffice, finished rows stay, and the others are
        restarted, from now on with half as many at once."""
        where, unfinished = f"model {self.name!r}", rows
        while unfinished and has_run_out(partial(self._run_batcher, unfinished, sampling)):
            if self._generation_tokens == 1:
                raise explain_too_large(where, "llm.batch_tokens")
            warn_of_halving(where, "llm.batch_tokens")
            self._generation_tokens //= 2
            self.clear_prefix_caches()
            unfinished = [row for row in unfinished if not row.is_over(sampling.max_new_tokens)]
            for row in unfinished:
                row.restart()

    def _run_batcher(self, rows: list[GenerationRow], sampling: Sampling) -> None:
        stop_strings = StopStrings(self.tokenizer, sampling.stop)
        batcher = ContinuousBatcher(
            self.model,
            self.prefix_cache,
            stop_strings,
            frozenset(self._end_ids),
            sampling,
            self._generation_tokens,
        )
        before = self.prefix_cache.computed_tokens
        batcher.generate(rows)
        prompt = sum(len(row.ids) for row in rows)
        self.tokens["prompt"] += prompt
        headers = self.prefix_cache.computed_tokens - before
        self.tokens["shared"] += prompt - batcher.computed_tokens - headers
        self.tokens["new"] += sum(row.steps for row in rows)

    def _make_completion(self, row: GenerationRow, sampling: Sampling) -> Completion:
        whole = str(self.tokenizer.decode(row.new_ids, skip_special_tokens=True))
        text = cut_at_stop(whole, sampling.stop)
        return Completion(text, row.finished or len(text) < len(whole), row.fault)

    def _tokenize_prompt(self, prompt: str, sampling: Sampling) -> list[int]:
        ids = (
            self.prompt_tokenizer.tokenize_chat(prompt)
            if sampling.chat
            else self.prompt_tokenizer.tokenize(prompt, add_bos=True)
        )
        if not ids:
            raise UserError("generate", "an empty prompt", "")
        return ids

    def _make_constraint(self, sampling: Sampling) -> Constraint | None:
        if not self.supports_regex or (sampling.regex is None and sampling.json_schema is None):
            return None
        return Constraint(self._llguidance_tokenizer, sampling)

    @cached_property
    def _llguidance_tokenizer(self) -> LLTokenizer:
        if not self._end_ids:
            raise UserError(
                f"model {self.name!r}",
                "names no token that ends a text, so its output cannot be constrained; an encoder "
                "such as BERT has none",
                "choose a model that generates text, or set generate.constrain: false",
            )
        vocabulary = self.model.get_output_embeddings().weight.shape[0]
        return make_llguidance_tokenizer(self.tokenizer, vocabulary, self._end_ids)

    @cached_property
    def _end_ids(self) -> list[int]:
        """The tokenizer's end token and those of the model's configuration: chat models have
        several."""
        eos = self.model.generation_config.eos_token_id
        ends = {self.tokenizer.eos_token_id, *(eos if isinstance(eos, list) else [eos])} - {None}
        return sorted(int(end) for end in ends)

    @property
    def _max_tokens(self) -> int:
        config = self.model.config.get_text_config()
        return int(getattr(config, "max_position_embeddings", None) or 2**31)

    # --- scoring ------------------------------------------------------------------------------

    @torch.inference_mode()
    def score(self, requests: Sequence[ScoreRequest]) -> list[list[Score]]:
        """Score continuations by their log-probabilities; see `LogprobScorer.score`. One that is
        longer, with its prefix and ending, than the model can read has a score with a fault.

        Raises:
            UserError: if a continuation or an ending is empty.
        """
        tokens = [tokenize_request(self.prompt_tokenizer, request) for request in requests]
        return score_fitting(tokens, self._max_tokens, self._score_tokens)

    def _score_tokens(self, tokens: Sequence[ScoreTokens]) -> list[list[Score]]:
        if not tokens:
            return []
        prefixes, continuations, endings, endings_only = map(list, zip(*tokens, strict=True))
        scores: list[list[Score]] = [[Score(0.0, 0)] * len(c) for c in continuations]
        with raise_device_faults(f"model {self.name!r}"):
            header, layers = self._compute_shared_header(prefixes)
            rest = [prefix[header:] for prefix in prefixes]
            packed = pack_rows(rest, continuations, endings, endings_only, self.batch_tokens)
            for batch in batch_rows(packed, self.batch_tokens, self.model.device.type):
                halve_on_out_of_memory(
                    lambda rows: self._score_rows(rows, header, layers, scores),
                    batch,
                    f"model {self.name!r}",
                    "llm.batch_tokens",
                )
        self._count_tokens(prefixes, continuations, endings, header)
        return scores

    def _score_rows(
        self, rows: Sequence[PackedRow], header: int, layers: list[Layer], scores: list[list[Score]]
    ) -> None:
        batch = collate_rows(rows, header, self._pad_id)
        room = batch.input_ids.shape[1]
        cache = make_preallocated_cache(layers, len(rows), room) if layers else None
        hidden = self.model.base_model(
            input_ids=batch.input_ids.to(self.device),
            position_ids=batch.position_ids.to(self.device),
            attention_mask=self._make_mask(batch, header),
            use_cache=bool(header),
            **make_cache_argument(self.model.base_model, cache),
        ).last_hidden_state
        predictors = hidden[batch.token_rows, batch.token_places]
        logprobs = self._compute_logprobs(predictors, batch.token_ids.to(self.device))
        pieces = [ids for row in rows for texts in row.scored for ids in texts]
        sums = iter(
            [
                float(p.sum(dtype=torch.float64))
                for p in logprobs.split([len(ids) for ids in pieces])
            ]
        )
        for row in rows:
            for number, continuation in enumerate(row.continuations, start=row.first):
                total = math.nan if row.endings_only else next(sums)
                endings = tuple(next(sums) for _ in row.endings)
                scores[row.request][number] = Score(total, len(continuation), endings)
        count_requests(sum(len(row.continuations) for row in rows))

    def _make_mask(self, batch: PackedBatch, header: int) -> Mask:
        positions = batch.position_ids.to(self.device)
        cached = torch.arange(header, device=self.device).expand(len(positions), header)
        places = torch.cat([cached, positions], dim=1)
        return make_layer_mask(self.model.config, batch.mask.to(self.device), positions, places)

    def _compute_logprobs(self, hidden: torch.Tensor, token_ids: torch.Tensor) -> torch.Tensor:
        """Compute log P of each token, (tokens, width) -> (tokens,): the LM head on these places
        alone."""
        head = self.model.get_output_embeddings()
        parts = []
        for some, ids in zip(hidden.split(_LOGIT_ROWS), token_ids.split(_LOGIT_ROWS), strict=True):
            logits = head(some).float()
            parts.append(-torch.nn.functional.cross_entropy(logits, ids, reduction="none"))
        return torch.cat(parts).cpu()

    def _count_shared_tokens(self, prefixes: list[list[int]]) -> int:
        """Count the tokens that all prefixes begin with; 0 if they are not worth a cache."""
        shared = count_common_tokens(prefixes) if len(prefixes) > 1 else 0
        return shared if shared >= _MIN_HEADER_TOKENS else 0

    def _compute_shared_header(self, prefixes: list[list[int]]) -> tuple[int, list[Layer]]:
        """Compute what all prefixes begin with: its length and its layers. Where memory does not
        suffice for it, even without the cached headers, nothing is shared."""
        header = self._count_shared_tokens(prefixes)
        layers: list[Layer] = []

        def compute() -> None:
            layers.extend(self._score_prefix_cache.get(prefixes[0], header))

        if not has_run_out(compute):
            return header, layers
        self.clear_prefix_caches()
        if not has_run_out(compute):
            return header, layers
        _log.warning(
            "model %r: memory does not suffice to cache the %d tokens that these prompts begin "
            "with: they are computed for each prompt",
            self.name,
            header,
        )
        return 0, []

    def clear_prefix_caches(self) -> None:
        """Free the memory of all cached headers; they are computed again when needed."""
        self.prefix_cache.clear()
        self._score_prefix_cache.clear()
        free_memory()

    def _count_tokens(
        self,
        prefixes: list[list[int]],
        continuations: list[list[list[int]]],
        endings: list[list[list[int]]],
        header: int,
    ) -> None:
        """Count tokens; `shared` are those that one full prompt per pair (and ending) would have
        computed again."""
        for prefix, several, ends in zip(prefixes, continuations, endings, strict=True):
            prompts = max(1, len(ends))
            pairs, own = len(several), sum(map(len, several))
            ending_tokens = pairs * sum(map(len, ends))
            repeated = (len(prefix) - header) * (pairs * prompts - 1) + own * (prompts - 1)
            self.tokens["prompt"] += prompts * (pairs * len(prefix) + own) + ending_tokens
            self.tokens["shared"] += header * pairs * prompts + repeated

    # --- what both share ----------------------------------------------------------------------

    def close(self) -> None:
        """Free the weights and the cached headers."""
        del self.model, self.prefix_cache, self._score_prefix_cache
        free_memory()

    @property
    def _pad_id(self) -> int:
        return int(self.tokenizer.pad_token_id)

    @torch.inference_mode()
    def _probe(self) -> None:
        """Score a short text packed, a token at a time and plainly. A model that ignores masks,
        caps its logits or keeps a state is refused here; otherwise its labels and texts would be
        bad."""
        prefix, continuations = "The river rose in the night and", (" flooded the field.", " fell")
        packed = self.score([ScoreRequest(prefix, continuations)])[0]
        start = self.prompt_tokenizer.tokenize(prefix, add_bos=True)
        for text, score in zip(continuations, packed, strict=True):
            end = self.prompt_tokenizer.tokenize_continuation(prefix, text)
            logits = self.model(input_ids=torch.tensor([start + end], device=self.device)).logits
            logprobs = logits[0, len(start) - 1 : -1].float().log_softmax(-1)
            plain = float(logprobs[range(len(end)), end].sum())
            stepped = self._score_stepwise(start, end)
            if max(abs(plain - score.logprob), abs(plain - stepped)) > _TOLERANCE[self.model.dtype]:
                raise UserError(
                    self.name,
                    f"scores {plain:.3f} as a whole but {score.logprob:.3f} when packed and "
                    f"{stepped:.3f} a token at a time: its attention does not take a mask, it "
                    "keeps a state, or its logits are transformed",
                    "use another model for this engine",
                )
        self.tokens = dict.fromkeys(self.tokens, 0)

    def _score_stepwise(self, prefix: list[int], continuation: list[int]) -> float:
        """Score a continuation a token at a time, as generation computes it."""
        slots = Slots(self.model, 1, len(prefix) + len(continuation))
        total, cached, piece = 0.0, 0, prefix
        for token in continuation:
            hidden = slots.forward(0, [piece], [cached])
            total += float(
                self._compute_logprobs(hidden, torch.tensor([token], device=self.device))
            )
            cached, piece = cached + len(piece), [token]
        return total
