"""Which beginnings are computed once."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from distill.llm import headers
from distill.llm.headers import Headers
from distill.llm.transformers_engine import TransformersEngine

HAND_A, HAND_B = list(range(100, 200)), list(range(300, 420))


def test_each_hand_is_a_header():
    prompts = [[*HAND_A, 1, 2], [*HAND_B, 3, 4], [*HAND_A, 5, 6], [*HAND_B, 7, 8]]
    assert Headers(None).chains(prompts) == [(100,), (120,), (100,), (120,)]


def test_a_header_within_a_header_continues_it():
    start = list(range(50))
    prompts = [[*start, *hand, n, 9] for hand in (HAND_A, HAND_B) for n in range(3)]
    assert Headers(None).chains(prompts) == [(50, 150)] * 3 + [(50, 170)] * 3


def test_what_saves_next_to_nothing_is_no_header():
    assert Headers(None).chains([[1, 2, 3, 4], [1, 2, 3, 5]]) == [(), ()]


def test_the_last_token_of_a_prompt_is_never_in_its_header():
    prompts = [HAND_A, HAND_A, [*HAND_A, 1]]
    assert Headers(None).chains(prompts) == [(99,), (99,), (99,)]


def test_prompts_of_the_call_before_count():
    known = Headers(None)
    assert known.chains([[*HAND_A, 1, 2], [*HAND_B, 1, 2]]) == [(), ()]
    assert known.chains([[*HAND_B, 3, 4]]) == [(120,)]


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=80), min_size=1, max_size=12))
def test_a_chain_grows_and_ends_before_its_prompt(prompts):
    for ids, chain in zip(prompts, Headers(None).chains(prompts), strict=True):
        assert list(chain) == sorted(set(chain))
        assert all(0 < length < len(ids) for length in chain)


def test_layers_are_those_of_the_model_itself(llm_folder):
    engine = TransformersEngine(str(llm_folder), "float32", "cpu")
    known = Headers(engine.model)
    with torch.inference_mode():
        known.get(HAND_A, [60])  # the next one is computed behind this one, and cut from that
        for length in (100, 30):
            layers = known.get(HAND_A, [length])
            own = engine.model.base_model(torch.tensor([HAND_A[:length]]), use_cache=True)
            for (keys, values), layer in zip(layers, own.past_key_values.layers, strict=True):
                torch.testing.assert_close(keys, layer.keys)
                torch.testing.assert_close(values, layer.values)
    assert known.computed == 100


def test_what_was_not_used_for_longest_is_dropped_first(llm_folder, monkeypatch):
    engine = TransformersEngine(str(llm_folder), "float32", "cpu")
    known = Headers(engine.model)
    with torch.inference_mode():
        size = headers._bytes(known.get(HAND_A, [100]))
        monkeypatch.setattr(headers, "_KEPT_BYTES", int(2.5 * size))
        known.get(HAND_B, [100])
        known.get(HAND_A, [100])
        known.get([*range(200, 300)], [100])
        assert known.computed == 300
        known.get(HAND_A, [100])
        assert known.computed == 300
        known.get(HAND_B, [100])
        assert known.computed == 400
