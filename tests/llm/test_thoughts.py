"""What of a reply is thoughts."""

import pytest

from distill.llm.thoughts import cut_at_stop, strip_thoughts

REPLY = "Task: Find it.\nQuery: why do bees dance"


@pytest.mark.parametrize(
    "thoughts",
    [
        "",
        "<think>\nThe passage is of bees.\n\nSo: bees.\n</think>\n\n",
        "<think></think>",
        "\n<think>\n\n</think>\n",
        "The passage is of bees.\n</think>\n",
        "<think>a</think>\n<think>b</think>",
        "<THINKING>bees</THINKING>",
        "<thought>Query: no</thought>",
        "<reasoning>bees</reasoning> ",
        "[THINK]bees[/THINK]",
        "◁think▷bees◁/think▷",
        "<seed:think>bees</seed:think>",
        "<|START_THINKING|>bees<|END_THINKING|>",
        "<|channel|>analysis<|message|>bees<|end|><|start|>assistant<|channel|>final<|message|>",
    ],
)
def test_reply_is_what_follows_the_thoughts(thoughts):
    assert strip_thoughts(thoughts + REPLY).strip() == REPLY


def test_answer_may_be_wrapped():
    assert strip_thoughts("<think>a</think>\n<answer>\n7\n</answer>").strip() == "7"


@pytest.mark.parametrize("text", ["<think>", "<think>the passage is", "[THINK] bees\n\nbees"])
def test_thoughts_without_an_end_hold_no_reply(text):
    assert strip_thoughts(text) is None


@pytest.mark.parametrize("text", ["", "how to close <b> tags", "what does <think> do in a prompt"])
def test_reply_that_speaks_of_tags_is_a_reply(text):
    assert strip_thoughts(text) == text


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("7\nmore", "7"),
        ("<think>\nIs it?\n", "<think>\nIs it?\n"),
        ("<think>\nIs it?\n</think>\n\n", "<think>\nIs it?\n</think>\n\n"),
        ("<think>\nIs it?\n</think>\n\n7\nmore", "<think>\nIs it?\n</think>\n\n7"),
        ("<think>a</think>\n<think>b\n</think>\n7\n", "<think>a</think>\n<think>b\n</think>\n7"),
        ("<think>\n</think>\n<answer>\n7\n</answer>", "<think>\n</think>\n<answer>\n7"),
    ],
)
def test_stop_string_ends_the_reply_and_not_the_thoughts(text, cut):
    assert cut_at_stop(text, ("\n",)) == cut
