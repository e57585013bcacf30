"""The engine on a tiny Llama: sharing changes the cost, never the result."""

import math
import shutil
import warnings
from dataclasses import replace

import pytest
import torch
from helpers.tiny_models import make_tiny_encoder
from transformers import AutoConfig, AutoTokenizer, BertForMaskedLM, GPT2Config, GPT2LMHeadModel

from distill.errors import UserError
from distill.llm import Completion, Sampling, ScoreRequest
from distill.llm.transformers import continuous_batching
from distill.llm.transformers.engine import TransformersEngine
from distill.llm.transformers.packing import pack_rows
from distill.runtime.progress import Progress

HEADER = "Read the passage and write the query that it answers, as a person would type it.\n\n"
PASSAGES = [
    "Passage: Bees dance to tell other bees where the flowers are.\nQuery:",
    "Passage: Tides follow the moon.\nQuery:",
    "Passage: Copper conducts electricity well and does not rust, so wires are of it.\nQuery:",
]
QUERIES = (" why do bees dance", " moon", " what are wires made of and why is that so")


@pytest.fixture(scope="module")
def engine(llm_folder) -> TransformersEngine:
    return TransformersEngine(str(llm_folder), dtype="float32", device="cpu")


def plain_score(engine: TransformersEngine, prefix: str, continuation: str) -> float:
    return plain_ids(engine, engine.prompt_tokenizer.tokenize(prefix, add_bos=True), continuation)


def plain_ids(engine: TransformersEngine, start: list[int], continuation: str) -> float:
    end = engine.prompt_tokenizer.tokenize(continuation)
    with torch.inference_mode():
        logits = engine.model(input_ids=torch.tensor([start + end])).logits[0]
    logprobs = logits[len(start) - 1 : -1].log_softmax(-1)
    return float(logprobs[range(len(end)), end].sum())


def test_shared_prefix_scores_equal_separate_prompts(engine):
    requests = [ScoreRequest(HEADER + passage, QUERIES) for passage in PASSAGES]
    for request, scores in zip(requests, engine.score(requests), strict=True):
        for query, score in zip(QUERIES, scores, strict=True):
            assert score.logprob == pytest.approx(
                plain_score(engine, request.prefix, query), abs=1e-3
            )
            assert score.tokens == len(engine.prompt_tokenizer.tokenize(query))


def test_answers_count_on_the_bar_before_the_call_returns(engine, monkeypatch):
    shown: list[str] = []
    with Progress("generations", 5, "prompts", requests_a_unit=1) as bar:
        retire = continuous_batching.ContinuousBatcher._retire

        def look(*arguments):
            retire(*arguments)
            shown.append(bar.amount)

        monkeypatch.setattr(continuous_batching.ContinuousBatcher, "_retire", look)
        engine.generate(PASSAGES, [1, 2, 3], Sampling(3))
    assert shown[-1] == "3 of 5 prompts"
    with Progress("judgements-ql", 20, "pairs", requests_a_unit=1) as bar:
        engine.score([ScoreRequest(HEADER + passage, QUERIES) for passage in PASSAGES])
        assert bar.amount == "9 of 20 pairs"


ENDINGS = (" yes", " no", " not at all")


@pytest.mark.parametrize("batch_tokens", [40, 4096])
def test_endings_score_as_if_each_stood_alone_behind_its_continuation(llm_folder, batch_tokens):
    engine = TransformersEngine(str(llm_folder), "float32", "cpu", batch_tokens)
    requests = [ScoreRequest(HEADER + passage, QUERIES, ENDINGS) for passage in PASSAGES]
    bare = engine.score([ScoreRequest(r.prefix, QUERIES) for r in requests])
    verdicts = engine.score([replace(request, endings_only=True) for request in requests])
    for request, scores, without in zip(requests, engine.score(requests), bare, strict=True):
        for query, score, alone in zip(QUERIES, scores, without, strict=True):
            assert score.logprob == pytest.approx(alone.logprob, abs=1e-3)
            assert score.tokens == alone.tokens
            for ending, logprob in zip(ENDINGS, score.endings, strict=True):
                before = engine.prompt_tokenizer.tokenize(
                    request.prefix, add_bos=True
                ) + engine.prompt_tokenizer.tokenize(query)
                assert logprob == pytest.approx(plain_ids(engine, before, ending), abs=1e-3)
    for scores, without in zip(engine.score(requests), verdicts, strict=True):
        for score, endings_only in zip(scores, without, strict=True):
            assert math.isnan(endings_only.logprob)
            assert endings_only.tokens == score.tokens
            assert endings_only.endings == pytest.approx(score.endings, abs=1e-3)


def test_scores_do_not_depend_on_what_the_prefix_cache_has(llm_folder):
    """To the last digit: a run that was killed ends with the same bytes."""
    engine, fresh = (TransformersEngine(str(llm_folder), "float32", "cpu") for _ in range(2))
    earlier = [ScoreRequest(HEADER + passage, QUERIES) for passage in PASSAGES]
    longer = [
        ScoreRequest(f"{HEADER}{PASSAGES[0]} and {more}", QUERIES) for more in ("bees", "bears")
    ]
    engine.score(earlier)
    assert engine.score(longer) == fresh.score(longer)


def test_scores_do_not_depend_on_the_token_budget(llm_folder):
    requests = [ScoreRequest(HEADER + passage, QUERIES) for passage in PASSAGES]
    wide = TransformersEngine(str(llm_folder), "float32", "cpu", batch_tokens=4096)
    narrow = TransformersEngine(str(llm_folder), "float32", "cpu", batch_tokens=40)
    for a, b in zip(wide.score(requests), narrow.score(requests), strict=True):
        assert [x.logprob for x in a] == pytest.approx([x.logprob for x in b], abs=1e-3)


def test_no_argument_of_transformers_is_on_its_way_out(engine):
    """A newcomer's first run would end in warnings, and a later release would refuse it."""
    requests = [ScoreRequest(HEADER + passage, QUERIES) for passage in PASSAGES]
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        engine.score(requests)
        engine.generate(
            [HEADER + passage for passage in PASSAGES], [1] * len(PASSAGES), Sampling(4)
        )


def test_requests_without_anything_in_common(engine):
    requests = [ScoreRequest("Zebra", (" one",)), ScoreRequest("An owl can turn", (" two", " 3"))]
    scores = engine.score(requests)
    assert [len(s) for s in scores] == [1, 2]
    assert scores[1][0].logprob == pytest.approx(
        plain_score(engine, "An owl can turn", " two"), abs=1e-3
    )


def test_tokens_saved_by_sharing_are_counted(llm_folder):
    engine = TransformersEngine(str(llm_folder), "float32", "cpu")
    engine.score([ScoreRequest(HEADER + PASSAGES[0], QUERIES)])
    prefix = len(engine.prompt_tokenizer.tokenize(HEADER + PASSAGES[0], add_bos=True))
    assert engine.tokens["shared"] == 2 * prefix
    own = sum(len(engine.prompt_tokenizer.tokenize(query)) for query in QUERIES)
    assert engine.tokens["prompt"] == 3 * prefix + own


def test_tokens_that_verdicts_share_are_counted(llm_folder):
    engine = TransformersEngine(str(llm_folder), "float32", "cpu")
    engine.score([ScoreRequest(PASSAGES[0], QUERIES, (" yes", " no"))])
    prefix = len(engine.prompt_tokenizer.tokenize(PASSAGES[0], add_bos=True))
    own = sum(len(engine.prompt_tokenizer.tokenize(query)) for query in QUERIES)
    verdicts = sum(len(engine.prompt_tokenizer.tokenize(verdict)) for verdict in (" yes", " no"))
    assert engine.tokens["prompt"] == 6 * prefix + 2 * own + 3 * verdicts
    assert engine.tokens["shared"] == 5 * prefix + own


@pytest.mark.bad_input("engines", "a text that is longer than the model reads", "no score; others")
@pytest.mark.parametrize("limit", ["rotary", "learnt"])
def test_text_that_is_too_long_has_no_score_and_the_others_keep_theirs(tmp_path, llm_folder, limit):
    """Llama would go on beyond its positions, GPT-2 has no more of them."""
    if limit == "learnt":
        shutil.copytree(llm_folder, tmp_path / "gpt", dirs_exist_ok=True)
        config = GPT2Config(
            vocab_size=len(AutoTokenizer.from_pretrained(llm_folder)),
            n_positions=128, n_embd=32, n_layer=2, n_head=2,
        )  # fmt: skip
        GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt")
        engine = TransformersEngine(str(tmp_path / "gpt"), dtype="float32", device="cpu")
    else:
        engine = TransformersEngine(str(llm_folder), dtype="float32", device="cpu")
        engine.model.config.max_position_embeddings = 128
    long = " why do bees dance" * 100
    short = ScoreRequest(PASSAGES[0], QUERIES[:1], (" yes", " no"))
    mixed = ScoreRequest(PASSAGES[1], (long, QUERIES[1]))
    too_long = ScoreRequest(PASSAGES[0] + long, QUERIES[:2], (" yes", " no"))
    [alone], [_, second], refused = engine.score([short, mixed, too_long])
    assert [bool(s.fault) for s in engine.score([mixed])[0]] == [True, False]
    assert [(math.isnan(s.logprob), len(s.endings), "128 tokens" in s.fault) for s in refused] == [
        (True, 2, True)
    ] * 2
    [[alone_before]], [second_before] = engine.score([short]), engine.score([mixed])[0][1:]
    assert alone.logprob == pytest.approx(alone_before.logprob, abs=1e-3)
    assert second.logprob == pytest.approx(second_before.logprob, abs=1e-3)
    assert all(s.fault for s in engine.score([too_long])[0])


@pytest.mark.bad_input("engines", "a continuation of nothing", "refused")
@pytest.mark.parametrize("request_", [ScoreRequest("A", ("",)), ScoreRequest("A", ("b",), ("",))])
def test_empty_continuation_is_refused(engine, request_):
    with pytest.raises(UserError, match="empty continuation"):
        engine.score([request_])


def test_row_never_exceeds_the_budget_unless_one_continuation_does():
    rows = pack_rows([[1] * 10], [[[2] * 8, [3] * 8, [4] * 30, [5]]], [[]], [False], budget=30)
    assert [[len(c) for c in row.continuations] for row in rows] == [[8, 8], [30], [1]]
    assert [row.first for row in rows] == [0, 2, 3]


def test_endings_last_token_takes_no_place():
    rows = pack_rows([[1] * 10], [[[2] * 8, [3] * 8]], [[[4], [5, 6, 7]]], [False], budget=30)
    assert [row.length for row in rows] == [10 + 8 + 2 + 8 + 2]


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_batched_generation_equals_one_by_one(engine, temperature):
    sampling = Sampling(12, temperature, 0.95, stop=("\n\n",))
    prompts = [HEADER + passage for passage in PASSAGES]
    together = engine.generate(prompts, [1, 2, 3], sampling)
    alone = [
        engine.generate([prompt], [seed], sampling)[0]
        for prompt, seed in zip(prompts, [1, 2, 3], strict=True)
    ]
    assert together == alone


def test_seed_decides_a_sample(engine):
    sampling = Sampling(12, 1.0)
    [first], [again], [other] = (engine.generate([HEADER], [s], sampling) for s in (5, 5, 6))
    assert first == again != other


def test_generation_ends_before_a_stop_string(engine):
    [whole] = engine.generate([HEADER], [0], Sampling(20))
    stop = whole.text[3:5]
    [cut] = engine.generate([HEADER], [0], Sampling(20, stop=(stop,)))
    assert cut.text == whole.text[: whole.text.find(stop)]
    assert cut.finished
    assert not whole.finished


def test_long_stop_string_is_found_across_many_tokens(engine):
    [whole] = engine.generate([HEADER], [0], Sampling(40))
    stop = whole.text[2:30]
    before = engine.tokens["new"]
    [cut] = engine.generate([HEADER], [0], Sampling(40, stop=(stop,)))
    assert cut.text == whole.text[: whole.text.find(stop)]
    assert engine.tokens["new"] - before < 40


@pytest.mark.bad_input("models", "a folder without a model", "refused")
def test_folder_without_a_model_is_refused(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    with pytest.raises(UserError, match="not a causal language model"):
        TransformersEngine(str(tmp_path / "model"))


@pytest.mark.bad_input("models", "an encoder in the place of the LLM", "refused")
def test_encoder_is_refused(tmp_path):
    make_tiny_encoder(tmp_path / "encoder")
    plain = tmp_path / "encoder-plain"
    model = BertForMaskedLM(AutoConfig.from_pretrained(plain))
    model.save_pretrained(plain)
    with pytest.raises(UserError, match=r"names no token that ends a text|when packed|cannot load"):
        TransformersEngine(str(plain), "float32", "cpu").generate(
            ["The river"], [1], Sampling(4, regex="[a-z]+")
        )


@pytest.mark.bad_input("models", "structured output of an LLM without an end token", "refused")
def test_structured_output_of_a_model_without_an_end_token_is_refused(llm_folder):
    engine = TransformersEngine(str(llm_folder), "float32", "cpu")
    engine.tokenizer.eos_token = None
    engine.model.generation_config.eos_token_id = None
    with pytest.raises(UserError, match="names no token that ends a text"):
        engine.generate(["The river"], [1], Sampling(4, regex="[a-z]+"))


def test_stop_string_ends_the_reply_and_not_the_thoughts(llm_folder, monkeypatch):
    engine = TransformersEngine(str(llm_folder), "float32", "cpu")
    thought = "<think>\nA passage of bees.\n</think>\n\n"
    ids = iter(engine.tokenizer(f"{thought}7\nmore", add_special_tokens=False)["input_ids"])
    monkeypatch.setattr(continuous_batching, "choose_tokens", lambda *_: torch.tensor([next(ids)]))
    [written] = engine.generate(["Grade:"], [1], Sampling(200, stop=("\n",)))
    assert written == Completion(f"{thought}7", True)
    assert engine.tokenizer.decode(list(ids)), "nothing was written behind the stop string"
