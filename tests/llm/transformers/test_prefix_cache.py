"""Which beginnings are computed once."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from helpers.tiny_models import TEXTS
from hypothesis import given
from hypothesis import strategies as st

from distill.llm import Sampling
from distill.llm.transformers import prefix_cache
from distill.llm.transformers.engine import TransformersEngine
from distill.llm.transformers.prefix_cache import PrefixCache

HEADER_A, HEADER_B = list(range(100, 200)), list(range(300, 420))


def test_prefix_of_each_example_set_is_a_header_of_whole_steps():
    prompts = [[*HEADER_A, 1, 2], [*HEADER_B, 3, 4], [*HEADER_A, 5, 6], [*HEADER_B, 7, 8]]
    assert PrefixCache(None).find_lengths(prompts) == [96, 112, 96, 112]


def test_longer_header_is_taken_where_it_saves_more_than_it_costs():
    start = list(range(50))
    prompts = [[*start, *header, n, 9] for header in (HEADER_A, HEADER_B) for n in range(3)]
    assert PrefixCache(None).find_lengths(prompts) == [144] * 3 + [160] * 3
    few_more = [[*HEADER_A, n // 2, *range(20), n] for n in range(4)]
    assert PrefixCache(None).find_lengths(few_more) == [96] * 4


def test_short_common_beginning_is_no_shared_prefix():
    assert PrefixCache(None).find_lengths([[1, 2, 3, 4], [1, 2, 3, 5]]) == [0, 0]
    assert PrefixCache(None).find_lengths([]) == []


def test_last_token_of_a_prompt_is_never_in_its_header():
    prompts = [HEADER_A[:97], HEADER_A[:97], [*HEADER_A[:97], 1]]
    assert PrefixCache(None).find_lengths(prompts) == [96, 96, 96]
    assert PrefixCache(None).find_lengths([HEADER_A[:96], HEADER_A]) == [80, 80]


def test_prompts_of_another_call_do_not_count():
    known = PrefixCache(None)
    assert known.find_lengths([[*HEADER_A, 1, 2], [*HEADER_B, 1, 2]]) == [0, 0]
    assert known.find_lengths([[*HEADER_B, 3, 4]]) == [0]


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=80), min_size=1, max_size=12))
def test_header_ends_before_its_prompt(prompts):
    for ids, length in zip(prompts, PrefixCache(None).find_lengths(prompts), strict=True):
        assert 0 <= length < len(ids)


def test_layers_are_those_of_the_model_itself(llm_folder):
    engine = TransformersEngine(str(llm_folder), "float32", "cpu")
    known = PrefixCache(engine.model)
    with torch.inference_mode():
        assert known.get(HEADER_A, 0) == []
        for length in (60, 100, 30):
            layers = known.get(HEADER_A, length)
            own = engine.model.base_model(torch.tensor([HEADER_A[:length]]), use_cache=True)
            for (keys, values), layer in zip(layers, own.past_key_values.layers, strict=True):
                torch.testing.assert_close(keys, layer.keys)
                torch.testing.assert_close(values, layer.values)
    assert known.computed_tokens == 190


def test_prefix_cache_drops_the_least_recently_used_prefix_first(llm_folder):
    engine = TransformersEngine(str(llm_folder), "float32", "cpu")
    with torch.inference_mode():
        size = prefix_cache._count_bytes(PrefixCache(engine.model).get(HEADER_A, 100))
        known = PrefixCache(engine.model, max_bytes=int(2.5 * size))
        known.get(HEADER_A, 100)
        known.get(HEADER_B, 100)
        known.get(HEADER_A, 100)
        known.get([*range(200, 300)], 100)
        assert known.computed_tokens == 300
        known.get(HEADER_A, 100)
        assert known.computed_tokens == 300
        known.get(HEADER_B, 100)
        assert known.computed_tokens == 400


EXAMPLE_SETS = [
    " ".join(f"Passage: {text}\nQuery: {text.split()[n]}\n\n" for text in TEXTS[n : n + 3])
    for n in range(4)
]


def _shards() -> list[list[str]]:
    """Each set of examples in several shards: twice or more often in some, once in others."""
    places = [(0, 0, 1), (1, 2, 2, 0), (3, 1, 0), (2, 3, 3, 1)]
    return [
        [
            f"{EXAMPLE_SETS[chosen]}Passage: {TEXTS[place + number]}\nQuery:"
            for place, chosen in enumerate(of)
        ]
        for number, of in enumerate(places)
    ]


def _logits(engines: Callable[[], TransformersEngine], order: Sequence[int]) -> dict[int, Any]:
    """All logits that the shards' texts were chosen from, the shards written in this order."""
    shards, found = _shards(), {}
    for number in order:
        engine, seen = engines(), list[torch.Tensor]()
        head = engine.model.get_output_embeddings()
        watch = head.register_forward_hook(lambda *call, seen=seen: seen.append(call[2].clone()))
        engine.generate(shards[number], range(len(shards[number])), Sampling(8, 0.9))
        watch.remove()
        found[number] = torch.cat(seen)
    return found


def test_logits_do_not_depend_on_other_shards(llm_folder):
    """To the last bit: a killed run ends with the same bytes, and so do several processes."""

    def fresh() -> TransformersEngine:
        return TransformersEngine(str(llm_folder), "float32", "cpu")

    one, other = fresh(), fresh()
    numbers = range(len(_shards()))
    in_order = _logits(lambda: one, numbers)
    reversed_ = _logits(lambda: other, numbers[::-1])
    apart = _logits(fresh, numbers)  # as if each were made in a process of its own
    for number in numbers:
        assert torch.equal(in_order[number], reversed_[number])
        assert torch.equal(in_order[number], apart[number])
    assert one.tokens["shared"] > 0
