"""The checks that a judge has usable scores at all, for every way of judging, and that a model
which thinks before it answers comes to its answers."""

from collections.abc import Sequence

from distill.errors import UserError
from distill.llm.protocol import Completion
from distill.llm.thoughts import NO_ANSWER, find_end_of_thoughts
from distill.recipe import LanguageModel

_FEWEST = 4
"""From this many judgements on, none of them usable, the cause is systematic."""
_FEWEST_REPLIES = 32
"""Likewise of replies: of a model that thinks long single ones are cut within their thoughts."""
_SWITCH_OFF = (
    'such as {"chat_template_kwargs": {"enable_thinking": false}} of vLLM and SGLang, or '
    '{"reasoning_effort": "none"}'
)


def refuse_if_none_usable(
    judge: str, usable: int, given: int, llm: LanguageModel | None, unit: str = "pairs"
) -> None:
    """Refuse a judge that has no usable score of anything that it was given; single ones may lack.

    Args:
        judge: how the error names it.
        usable: number of usable scores, those of earlier runs among them: where judging is resumed,
            what is left may be nothing but what has none.
        given: number of `unit` that it was given.
        llm: the settings of the LLM; None for a judge that is a cross-encoder.

    Raises:
        UserError: if it has no score of several.
    """
    if usable or given < _FEWEST:
        return
    raise UserError(
        judge,
        f"gave no usable score for any of {given} {unit}: a reply failed, was cut off or is empty, "
        "a log-probability is NaN, infinite, positive or missing, or a text is too long for the "
        "model",
        f"{_explain_thinking(llm)}load the model in float32 or bfloat16 (the dtype of its section; "
        "float16 overflows), lower max_passage_words for one that reads few tokens, or let another "
        "model judge",
    )


def _explain_thinking(llm: LanguageModel | None) -> str:
    if llm is None:
        return ""
    return (
        f"if it thinks before it answers, raise {llm.name_key('verdict_tokens')} (such as 2000) or "
        f"switch thinking off by {llm.name_key('extra_body')}, {_SWITCH_OFF}; otherwise "
    )


def refuse_if_only_thoughts(
    written: Sequence[Completion], llm: LanguageModel, tokens_key: str
) -> None:
    """Refuse a model of which every reply to some prompts is cut within its thoughts: those to all
    other prompts would be, too. What a server wrote is in its file of replies.

    Args:
        tokens_key: the setting of how long a reply may be.

    Raises:
        UserError: with the remedy.
    """
    if len(written) < _FEWEST_REPLIES or not all(map(_is_thought_alone, written)):
        return
    served = llm.engine == "http"
    off = f"switch thinking off by {llm.name_key('extra_body')}, {_SWITCH_OFF}"
    other = "choose a model that does not think before it answers"
    raise UserError(
        f"model {llm.model!r}",
        f"thinks before it answers, and none of {len(written)} replies came to an answer",
        f"{off if served else other}; or raise {tokens_key} to some thousand",
    )


def _is_thought_alone(reply: Completion) -> bool:
    if reply.fault is not None:
        return NO_ANSWER in reply.fault
    return find_end_of_thoughts(reply.text) is None
