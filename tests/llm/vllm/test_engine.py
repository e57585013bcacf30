"""What of the vLLM engine needs no vLLM; the rest is tested with it, by `make test-vllm`."""

import pytest
from transformers import AutoTokenizer

from distill.errors import UserError
from distill.llm import Completion, Sampling, ScoreRequest
from distill.llm.load import load_llm
from distill.llm.tokenization import PromptTokenizer
from distill.llm.vllm import engine as vllm_engine
from distill.llm.vllm.engine import VLLMEngine, _assign_gpus, _make_vllm_options, _split_evenly
from distill.llm.vllm.process import make_environment
from distill.models.causal_lm import make_model_folder
from distill.recipe import LanguageModel


@pytest.mark.bad_input("installation", "vLLM is not installed", "refused, with the command")
def test_error_without_vllm_says_how_to_get_it(tmp_path, llm_folder):
    settings = LanguageModel(engine="vllm", model=str(llm_folder))
    with pytest.raises(UserError, match="not installed") as fault:
        load_llm(settings, tmp_path / "requests.sqlite")
    assert "pip install" in fault.value.remedy
    assert "make env-vllm" in fault.value.remedy


@pytest.mark.parametrize("copies", [1, 2, 3, 5])
def test_shares_keep_the_order_and_weigh_about_the_same(copies):
    weights = [5, 1, 1, 1, 8, 2, 2, 4, 4, 4, 1, 7]
    jobs = list(range(len(weights)))
    shares = _split_evenly(jobs, weights, copies)
    assert [job for share in shares for job in share] == jobs
    assert len(shares) == copies
    heaviest = max(sum(weights[job] for job in share) for share in shares)
    assert heaviest <= sum(weights) / copies + max(weights)


def test_copies_beyond_the_jobs_have_none():
    shares = _split_evenly(["a", "b"], [3, 3], 4)
    assert sorted(map(len, shares)) == [0, 0, 1, 1]


def test_copies_have_gpus_of_their_own(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7,1")
    settings = LanguageModel(engine="vllm", device="cuda", tensor_parallel=2, data_parallel=2)
    assert _assign_gpus(settings) == [["4", "5"], ["6", "7"]]
    assert _assign_gpus(settings.model_copy(update={"device": "cuda:1"})) == [
        ["5", "6"],
        ["7", "1"],
    ]


def test_copy_knows_nothing_of_the_launcher_that_began_the_training(monkeypatch):
    """With TORCHELASTIC_USE_AGENT_STORE torch joins the launcher's store in place of its own."""
    of_launcher = ["TORCHELASTIC_USE_AGENT_STORE", "TORCHELASTIC_RUN_ID", "LOCAL_RANK"]
    of_launcher += ["RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "ROLE_NAME", "GROUP_RANK"]
    for name in of_launcher:
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("HF_HOME", "models")
    environment = make_environment(["2", "3"])
    assert not environment.keys() & {*of_launcher}
    assert (environment["HF_HOME"], environment["CUDA_VISIBLE_DEVICES"]) == ("models", "2,3")
    assert environment["VLLM_NO_USAGE_STATS"] == "1"


@pytest.mark.bad_input("device", "more GPUs than there are", "refused before anything is loaded")
def test_too_few_gpus_are_said_before_anything_is_loaded(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    settings = LanguageModel(engine="vllm", device="cuda", tensor_parallel=2, data_parallel=2)
    with pytest.raises(UserError, match="need 4, but there are 3"):
        _assign_gpus(settings)


def test_recipes_settings_reach_vllm(monkeypatch):
    monkeypatch.setattr(vllm_engine, "choose_device", lambda: "cuda")
    settings = LanguageModel(
        engine="vllm", tensor_parallel=2, max_model_tokens=4096, quantization="fp8", gpu_memory=0.5
    )
    options = _make_vllm_options(settings, "folder")
    assert options["tensor_parallel_size"] == 2
    assert options["max_model_len"] == 4096
    assert options["quantization"] == "fp8"
    assert options["gpu_memory_utilization"] == 0.5
    assert options["dtype"] == "auto"  # on a GPU vLLM itself knows which
    assert options["trust_remote_code"] is False
    assert options["enable_prefix_caching"] is True


def test_folder_is_served_as_it_is(llm_folder):
    import torch

    assert make_model_folder(str(llm_folder), torch.float32) == llm_folder


class Heeds(VLLMEngine):
    """Copies of the model that write the same, and end it before a stop string anywhere."""

    def __init__(self, text: str, tokenizer) -> None:
        self.text, self.name, self._max_tokens = text, "m", 100
        self.tokens = {"prompt": 0, "shared": 0, "new": 0}
        self.prompt_tokenizer = PromptTokenizer(tokenizer, "m")
        self._scoring_method = ""
        self.asked: list[tuple[int, tuple[str, ...]]] = []

    def _run(self, method, jobs, weights, *arguments):
        if method == "score":
            assert all(len(prefix + max(of, key=len)) < self._max_tokens for prefix, of in jobs)
            return [([-1.0 - n for n in range(len(of))], 0, "x") for _, of in jobs]
        [sampling] = arguments
        self.asked.append((len(jobs), sampling.stop))
        ends = [at for at in map(self.text.find, sampling.stop) if at >= 0]
        return [(self.text[: min(ends, default=None)], True, 0, 5) for _ in jobs]


def test_stop_string_in_the_thoughts_costs_no_reply(llm_folder):
    tokenizer = AutoTokenizer.from_pretrained(llm_folder)
    thought = "<think>\nbees\n</think>\n"
    engine = Heeds(f"{thought}7\nmore", tokenizer)
    written = engine.generate(["a", "b"], [1, 2], Sampling(50, stop=("\n",)))
    assert written == [Completion(f"{thought}7", True)] * 2
    assert engine.asked == [(2, ("\n",)), (2, ())]


def test_reply_without_thoughts_is_asked_for_once(llm_folder):
    engine = Heeds("7\nmore", AutoTokenizer.from_pretrained(llm_folder))
    assert engine.generate(["a"], [1], Sampling(50, stop=("\n",))) == [Completion("7", True)]
    assert engine.asked == [(1, ("\n",))]


def test_text_that_is_too_long_has_no_score_and_the_others_keep_theirs(llm_folder):
    engine = Heeds("", AutoTokenizer.from_pretrained(llm_folder))
    long = " why do bees dance" * 100
    short = ScoreRequest("Bees dance.", (long, " why", " what"), (" yes", " no"))
    [cut, why, what], [alone] = engine.score([short, ScoreRequest(f"Bees.{long}", (" why",))])
    assert [bool(score.fault) for score in (cut, why, what, alone)] == [True, False, False, True]
    assert (why.logprob, why.endings) == (-1.0, (-1.0, -2.0))
    assert (what.logprob, what.endings) == (-4.0, (-1.0, -2.0))
