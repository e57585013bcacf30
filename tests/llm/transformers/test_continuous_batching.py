"""Rows of all lengths that come and go side by side: each is written as if it were alone."""

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    Qwen3Config,
)

from distill.llm import Sampling
from distill.llm.transformers.engine import TransformersEngine

HEADERS = [
    "Read the passage and write the query that it answers, as a person would type it. " * 2,
    "Read the passage and write the query that it answers, in the fewest words there are. " * 2,
    "Write a claim which the passage supports; a claim is a whole sentence with a verb. " * 2,
]
PASSAGES = [
    "Bees dance to tell other bees where the flowers are.",
    "Tides follow the moon.",
    "Copper conducts electricity well and does not rust, so wires are made of it, and pipes.",
    "Salt lowers the freezing point of water.",
    "Yeast turns sugar into alcohol and carbon dioxide, which makes bread rise.",
]
PROMPTS = [f"{header}\nPassage: {passage}\nQuery:" for passage in PASSAGES for header in HEADERS]
PROMPTS.append("Nothing in common with the others")
SEEDS = list(range(len(PROMPTS)))


@pytest.fixture(scope="module")
def alone(llm_folder) -> TransformersEngine:
    return TransformersEngine(str(llm_folder), "float32", "cpu")


def one_by_one(engine: TransformersEngine, sampling: Sampling) -> list:
    return [
        engine.generate([prompt], [seed], sampling)[0]
        for prompt, seed in zip(PROMPTS, SEEDS, strict=True)
    ]


@pytest.mark.parametrize("batch_tokens", [1, 60, 4096])
@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_row_is_written_as_if_it_were_alone(llm_folder, alone, temperature, batch_tokens):
    """One slot, a few that are given to one prompt after another, and a slot for each."""
    sampling = Sampling(20, temperature, 0.95, stop=("e", "\n"))
    engine = TransformersEngine(str(llm_folder), "float32", "cpu", batch_tokens)
    expected = one_by_one(alone, sampling)
    assert len({len(written.text) for written in expected}) > 3  # they end at different steps
    assert engine.generate(PROMPTS, SEEDS, sampling) == expected
    assert engine.generate(PROMPTS[::-1], SEEDS[::-1], sampling) == expected[::-1]


ARCHITECTURES: dict[str, tuple[type[PreTrainedConfig], dict]] = {
    "llama": (LlamaConfig, {}),
    "qwen3": (Qwen3Config, {"head_dim": 8}),
    "mistral, sliding window": (MistralConfig, {"sliding_window": 24}),
    "gemma3, windows in some layers": (
        Gemma3TextConfig,
        {
            "head_dim": 8,
            "sliding_window": 24,
            "layer_types": ["sliding_attention", "full_attention"],
        },
    ),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_continuous_batching_writes_what_transformers_writes(name, alone, tmp_path):
    """Greedily, one prompt at a time, with the library's own cache and masks."""
    kind, own = ARCHITECTURES[name]
    config = kind(
        vocab_size=len(alone.tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.3,
        bos_token_id=alone.tokenizer.bos_token_id,
        eos_token_id=alone.tokenizer.eos_token_id,
        pad_token_id=alone.tokenizer.pad_token_id,
        **own,
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    alone.tokenizer.save_pretrained(tmp_path)
    engine = TransformersEngine(str(tmp_path), "float32", "cpu", batch_tokens=60)
    written = engine.generate(PROMPTS, SEEDS, Sampling(16))
    for prompt, ours in zip(PROMPTS, written, strict=True):
        ids = torch.tensor([engine.prompt_tokenizer.tokenize(prompt, add_bos=True)])
        whole = engine.model.generate(ids, max_new_tokens=16, do_sample=False)
        text = engine.tokenizer.decode(whole[0, ids.shape[1] :], skip_special_tokens=True)
        assert ours.text == text


def test_header_in_the_prefix_cache_is_computed_once_for_all_calls(llm_folder):
    engine = TransformersEngine(str(llm_folder), "float32", "cpu")
    sampling = Sampling(4)
    engine.generate(PROMPTS, SEEDS, sampling)
    prompt = sum(len(engine.prompt_tokenizer.tokenize(text, add_bos=True)) for text in PROMPTS)
    assert engine.tokens["prompt"] == prompt
    # Each header once, and behind it the passages: a token of slack for where tokens merge.
    headers = sum(len(engine.prompt_tokenizer.tokenize(header, add_bos=True)) for header in HEADERS)
    passages = sum(
        len(engine.prompt_tokenizer.tokenize(f"\nPassage: {p}\nQuery:")) for p in PASSAGES
    )
    once = (
        headers
        + 3 * passages
        + len(engine.prompt_tokenizer.tokenize(PROMPTS[-1], add_bos=True))
        + 16 * len(PROMPTS)
    )
    assert prompt - engine.tokens["shared"] <= once
    before = dict(engine.tokens)
    later = [f"\nPassage: {text}\nQuery:" for text in ("The moon.", "A day of rain.")]
    engine.generate([HEADERS[1] + text for text in later], [0, 1], sampling)
    own = sum(len(engine.prompt_tokenizer.tokenize(text)) for text in later)
    spent = {key: engine.tokens[key] - before[key] for key in before}
    assert spent["prompt"] - spent["shared"] <= own + 2 * 16  # headers are of whole steps


def test_prefix_cache_computes_a_prompt_with_several_continuations_once(llm_folder, alone):
    engine = TransformersEngine(str(llm_folder), "float32", "cpu")
    sampling = Sampling(12, temperature=1.0)
    written = engine.generate([PROMPTS[0]] * 5, range(5), sampling)
    assert engine.tokens["shared"] == 4 * len(
        engine.prompt_tokenizer.tokenize(PROMPTS[0], add_bos=True)
    )
    assert written == [alone.generate([PROMPTS[0]], [n], sampling)[0] for n in range(5)]
    assert len({one.text for one in written}) > 1


def test_new_tokens_are_counted_with_the_one_that_ends_a_text(alone):
    before = alone.tokens["new"]
    written = alone.generate(PROMPTS[:3], SEEDS[:3], Sampling(7))
    assert not any(one.finished for one in written)
    assert alone.tokens["new"] - before == 3 * 7


def test_every_end_token_of_the_model_ends_a_text(llm_folder):
    engine = TransformersEngine(str(llm_folder), "float32", "cpu")
    prompt = torch.tensor([engine.prompt_tokenizer.tokenize(PROMPTS[0], add_bos=True)])
    ids = engine.model.generate(prompt, max_new_tokens=8, do_sample=False)[0, prompt.shape[1] :]
    end = int(ids[-1])
    engine.model.generation_config.eos_token_id = [engine.tokenizer.eos_token_id, end]
    [cut] = engine.generate([PROMPTS[0]], [0], Sampling(8))
    assert cut.finished
    assert cut.text == engine.tokenizer.decode(ids[: ids.tolist().index(end)])


def test_prompt_beyond_the_model_is_a_fault_and_the_others_are_written(alone):
    long = "The sea rises and falls. " * 400
    with_it = alone.generate([PROMPTS[0], long, PROMPTS[1]], [0, 1, 2], Sampling(6))
    assert with_it[1].text == ""
    assert not with_it[1].finished
    assert "longer than" in with_it[1].fault
    assert [with_it[0], with_it[2]] == alone.generate([PROMPTS[0], PROMPTS[1]], [0, 2], Sampling(6))


def test_continuous_batching_of_no_prompts_is_empty(alone):
    assert alone.generate([], [], Sampling(4)) == []
