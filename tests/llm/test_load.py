"""What identifies a language model in fingerprints."""

from distill.llm.load import identify_llm
from distill.recipe import LanguageModel


def test_longest_prompt_is_part_of_what_a_model_writes_where_it_is_set(llm_folder):
    """vLLM has a fault for a longer prompt: raising the limit must bring its row back."""

    def identify(most):
        settings = LanguageModel(engine="vllm", model=str(llm_folder), max_model_tokens=most)
        return identify_llm(settings)

    assert identify(2048) != identify(4096)
    assert "max_model_tokens" not in identify(None)
