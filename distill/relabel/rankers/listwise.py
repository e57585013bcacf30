"""Listwise ranking, for engines without log-probabilities: the LLM sorts a window of passages, and
the window slides from the last passage to the first (RankGPT, Sun et al. 2023, section 3.2)."""

import math
import re
from collections import Counter
from collections.abc import Sequence

from distill.llm.prompts import Prompt
from distill.llm.protocol import LLM, Completion, Sampling
from distill.llm.thoughts import strip_thoughts
from distill.text.sanitize import sanitize_for_prompt

_TOKENS_PER_PASSAGE = 8
"""More than ` > [99]` can have, as a token is at least a byte."""
_TOKENS_BESIDE = 32
"""Tokens for the sentence that some models put before their list."""

_IDENTIFIER = r"\[([0-9]{1,4})\]"
_LIST = re.compile(r"\[[0-9]{1,4}\](?:\s*>\s*\[[0-9]{1,4}\])*")


def judge_listwise(
    llm: LLM,
    prompt: Prompt,
    requests: Sequence[tuple[str, Sequence[str]]],
    window: int,
    chat: bool,
    counts: Counter[str] | None = None,
    max_tokens: int | None = None,
) -> list[list[tuple[float, int]]]:
    """Judge each query and its passages: (minus the passage's final rank, 0 tokens).

    The windows that all queries have at the same step are one call of the engine. A query with an
    unreadable window has nan for all its passages, and its further windows are not sent: in part
    its order would be the retriever's.

    Args:
        requests: queries, each with its passages in the retriever's order, best first.
        window: passages in one prompt; it slides by half of that.
        counts: counts of "windows" and "unreadable replies", added here.
        max_tokens: the longest reply; by default what a list without thoughts needs.
    """
    counts = Counter() if counts is None else counts
    texts = [
        (sanitize_for_prompt(query), [sanitize_for_prompt(p) for p in passages])
        for query, passages in requests
    ]
    orders = [list(range(len(passages))) for _, passages in requests]
    unreadable: set[int] = set()
    slides = [make_windows(len(order), window) for order in orders]
    for step in range(max(map(len, slides), default=0)):
        now = [
            (i, slide[step])
            for i, slide in enumerate(slides)
            if step < len(slide) and i not in unreadable
        ]
        if not now:
            continue
        prompts = [_render_window(prompt, texts[i], orders[i], places, chat) for i, places in now]
        sizes = [len(places) for _, places in now]
        sampling = _make_sampling(sizes, llm.supports_regex, chat, max_tokens)
        replies = llm.generate(prompts, [0] * len(prompts), sampling)
        for (i, places), reply in zip(now, replies, strict=True):
            ranking = _read_reply(reply, len(places))
            if ranking is None:
                unreadable.add(i)
            else:
                orders[i] = _sort_window(orders[i], places, ranking)
            counts["windows"] += 1
            counts["unreadable replies"] += ranking is None
    return [
        [(math.nan, 0)] * len(order) if i in unreadable else _score_by_rank(order)
        for i, order in enumerate(orders)
    ]


def make_windows(count: int, window: int) -> list[range]:
    """Make the windows of places that are sorted together, from the back of `count` places to the
    front, each half a window before the last one. A single passage needs none."""
    places: list[range] = []
    end = count
    while end > 1 and (not places or places[-1].start > 0):
        places.append(range(max(0, end - window), end))
        end -= window // 2
    return places


def read_order(reply: str, count: int, fewest: int = 1) -> list[int] | None:
    """Read the order of `count` passages, counted from 0, from a reply such as `[2] > [1] > [3]`.

    Of several lists the longest counts: a sentence around it may name a passage too. Identifiers
    that are unknown or repeated are ignored; passages that are not named follow in the
    order they had. None where fewer than `fewest` passages are named.
    """
    chosen = max(_LIST.findall(reply), key=lambda match: match.count("["), default="")
    named = [int(digits) - 1 for digits in re.findall(_IDENTIFIER, chosen)]
    known = [number for number in dict.fromkeys(named) if 0 <= number < count]
    if len(known) < fewest:
        return None
    return [*known, *(number for number in range(count) if number not in known)]


def make_reply_regex(fewest: int, most: int, chat: bool) -> str:
    """Make the regular expression of a whole reply that lists from `fewest` to `most` passages. A
    continued text begins after the label of its line, and a line break ends it."""
    identifier = rf"\[({'|'.join(str(number) for number in range(1, most + 1))})\]"
    ordered = rf"{identifier}( > {identifier}){{{fewest - 1},{most - 1}}}"
    return ordered if chat else rf" {ordered}\n"


def _render_window(
    prompt: Prompt, texts: tuple[str, list[str]], order: list[int], places: range, chat: bool
) -> str:
    query, passages = texts
    shown = [passages[order[place]] for place in places]
    return prompt.render(query=query, passages=shown, chat=chat)


def _make_sampling(
    sizes: Sequence[int], constrain: bool, chat: bool, max_tokens: int | None
) -> Sampling:
    """Make greedy sampling for a call's windows. They share one regular expression, as they are of
    one size unless a query has fewer passages than a window."""
    return Sampling(
        max_new_tokens=max_tokens or _TOKENS_PER_PASSAGE * max(sizes) + _TOKENS_BESIDE,
        temperature=0.0,
        stop=() if chat or constrain else ("\n",),
        chat=chat,
        regex=make_reply_regex(min(sizes), max(sizes), chat) if constrain else None,
    )


def _read_reply(reply: Completion, count: int) -> list[int] | None:
    """Read the order in a reply. One that was cut off may have ended in the model's thoughts: it
    counts only if it names every passage."""
    fewest = 1 if reply.finished else count
    return None if reply.fault else read_order(strip_thoughts(reply.text) or "", count, fewest)


def _sort_window(order: list[int], places: range, ranking: list[int]) -> list[int]:
    inside = [order[places.start + number] for number in ranking]
    return [*order[: places.start], *inside, *order[places.stop :]]


def _score_by_rank(order: Sequence[int]) -> list[tuple[float, int]]:
    scores = [(0.0, 0)] * len(order)
    for rank, passage in enumerate(order, start=1):
        scores[passage] = (-float(rank), 0)
    return scores
