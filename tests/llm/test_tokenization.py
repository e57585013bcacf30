"""What a prompt says is text, whatever it spells out."""

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from distill.errors import UserError
from distill.llm.tokenization import PromptTokenizer

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}]\n{{ m['content'] }}{{ eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}[assistant]\n{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer(llm_folder):
    loaded = AutoTokenizer.from_pretrained(llm_folder)
    loaded.chat_template = TEMPLATE
    return loaded


def test_text_that_spells_out_a_special_token_is_tokenised_as_text(tokenizer):
    ids = PromptTokenizer(tokenizer, "tiny").tokenize("The end.</s> Or <s>not?", add_bos=True)
    assert not {tokenizer.bos_token_id, tokenizer.eos_token_id} & set(ids)
    assert tokenizer.decode(ids) == "The end.</s> Or <s>not?"


def test_text_without_special_tokens_is_tokenised_as_ever(tokenizer):
    text = "Bees dance,\n\n to tell other bees  where the flowers are."
    assert (
        PromptTokenizer(tokenizer, "tiny").tokenize(text, add_bos=True)
        == tokenizer(text)["input_ids"]
    )


def test_model_with_a_beginning_of_its_own_keeps_it(tokenizer):
    begun = copy.deepcopy(tokenizer)
    begun.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", begun.bos_token_id)]
    )
    encoder = PromptTokenizer(begun, "tiny")
    plain = encoder.tokenize("a <s> b")
    assert begun.bos_token_id not in plain
    assert encoder.tokenize("a <s> b", add_bos=True) == [begun.bos_token_id, *plain]


def test_end_that_a_tokenizer_adds_is_left_out_of_a_prompt(tokenizer):
    ended = copy.deepcopy(tokenizer)
    ended.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>",
        special_tokens=[("<s>", ended.bos_token_id), ("</s>", ended.eos_token_id)],
    )
    encoder = PromptTokenizer(ended, "tiny")
    for text in ("Bees dance.", "ends in </s>", ""):
        plain = encoder.tokenize(text)
        assert encoder.tokenize(text, add_bos=True) == [ended.bos_token_id, *plain]


@settings(max_examples=60)
@given(content=st.lists(st.sampled_from(["</s>", "<s>", "[user]\n", " bees ", "s>", "</", "\n"])))
def test_message_cannot_end_itself(tokenizer, content):
    """A hostile message holds as many special tokens as an empty one: the template's."""
    message = "".join(content)
    encoder = PromptTokenizer(tokenizer, "tiny")
    special = {tokenizer.bos_token_id, tokenizer.eos_token_id}
    ids = encoder.tokenize_chat(message)
    assert [i for i in ids if i in special] == [tokenizer.bos_token_id, tokenizer.eos_token_id]
    assert ids[0] == tokenizer.bos_token_id
    inner = tokenizer.decode(ids[1 : ids.index(tokenizer.eos_token_id)])
    assert inner == f"[user]\n{message}"
    assert tokenizer.decode(ids[ids.index(tokenizer.eos_token_id) + 1 :]) == "[assistant]\n"


def test_harmless_message_is_tokenised_by_the_template(tokenizer):
    message = [{"role": "user", "content": "why do bees dance\n"}]
    expected = tokenizer.apply_chat_template(
        message, tokenize=True, add_generation_prompt=True, return_dict=False
    )
    assert PromptTokenizer(tokenizer, "tiny").tokenize_chat("why do bees dance\n") == expected


def test_model_without_a_template_has_no_chat(llm_folder, tokenizer):
    assert not PromptTokenizer(AutoTokenizer.from_pretrained(llm_folder), "tiny").has_chat
    assert PromptTokenizer(tokenizer, "tiny").has_chat


@pytest.mark.bad_input("models", "a chat template that fails", "refused with its words")
def test_template_that_fails_is_reported(tokenizer):
    broken = copy.deepcopy(tokenizer)
    broken.chat_template = "{{ raise_exception('no user here') }}"
    with pytest.raises(UserError, match="no user here"):
        PromptTokenizer(broken, "tiny").tokenize_chat("hello")


# --- what continues a prompt --------------------------------------------------------------------

PREPENDED = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
KINDS = {  # normalizer, pre-tokenizer
    "Mistral 7B, Mixtral, Phi-3": (PREPENDED, None),
    "Llama 2": (None, pre_tokenizers.Metaspace(prepend_scheme="first", split=False)),
    "T5": (None, pre_tokenizers.Metaspace(prepend_scheme="always", split=False)),
    "Gemma": (normalizers.Replace(" ", "▁"), None),
    "GPT-2": (None, pre_tokenizers.ByteLevel(add_prefix_space=False)),
}


def encoder_of(kind):
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    normalizer, pre_tokenizer = KINDS[kind]
    if normalizer:
        tokenizer.normalizer = normalizer
    if pre_tokenizer:
        tokenizer.pre_tokenizer = pre_tokenizer
    texts = ["Query:", "how", "do", "bees", "dance", "yes", "a", "x", "\n", "Relevant:"]
    letters = sorted({letter for text in texts for letter in text} | {"▁"})
    alphabet = pre_tokenizers.ByteLevel.alphabet() if kind == "GPT-2" else letters
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=["<unk>", "</s>"], initial_alphabet=alphabet
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>")
    return PromptTokenizer(fast, "tiny")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", [" how do bees dance", " yes", "\nyes"])
def test_continuation_of_a_prompt_has_the_tokens_of_the_joint_text(kind, text):
    encoder, prefix = encoder_of(kind), "Relevant: a\nQuery:"
    both = encoder.tokenize(prefix + text, add_bos=True)
    assert (
        encoder.tokenize(prefix, add_bos=True) + encoder.tokenize_continuation(prefix, text) == both
    )


def test_tokenizers_judge_again_only_if_they_add_a_blank_to_one():
    adding = [kind for kind in KINDS if encoder_of(kind).is_space_added(" ")]
    assert adding == ["Mistral 7B, Mixtral, Phi-3"]


@pytest.mark.bad_input("prompt", "its two parts meet within a token", "refused where it is read")
def test_text_that_meets_the_prompt_within_a_token_is_refused():
    with pytest.raises(UserError, match="read as one token") as fault:
        encoder_of("Mistral 7B, Mixtral, Phi-3").tokenize_continuation("Query: ho", "w")
    assert "space" in fault.value.remedy
