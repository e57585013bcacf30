"""The check that a judge has usable scores at all, for every way of judging."""

from distill.errors import UserError
from distill.recipe import LanguageModel

_FEWEST = 4
"""From this many judgements on, none of them usable, the cause is systematic."""


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
        f"switch thinking off by {llm.name_key('extra_body')}, such as "
        '{"reasoning_effort": "none"}; otherwise '
    )
