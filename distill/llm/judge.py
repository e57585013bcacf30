"""Judging of query-passage pairs by an LLM, by log-probabilities (Gecko, section 3.2) or in words.

- Query likelihood, `QL(q, p) = log P(q | p)`.
- Relevance classification, here the log-odds of the verdicts yes and no after query and passage,
  `RC(q, p) = log P(yes | q, p) - log P(no | q, p)`.
- Graded relevance, the expected grade over the verdicts none, low, medium, high, whose
  probabilities are taken to add up to one (Zhuang et al. 2023, "Beyond Yes and No", section 3.1).

- A grade in words, for engines that give no log-probabilities at all.

Scoring is passage-major: the queries of a passage continue one prefix, so that an engine computes
the few-shot header once for many passages and a passage once for all its queries. The verdicts are
endings of one continuation: they need not be single tokens, and the query is computed once.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from distill.errors import UserError
from distill.llm.prompts import Prompt
from distill.llm.protocol import LLM, Completion, Sampling, Score, ScoreRequest
from distill.llm.thoughts import strip_thoughts
from distill.recipe import LanguageModel

VERDICTS = ("yes", "no")
GRADES = ("none", "low", "medium", "high")
"""Graded verdicts, worth 0 to 3."""
HIGHEST_WORD_GRADE = 10.0
"""The highest grade in words; the lowest is 0."""
_WORD_SAMPLING = Sampling(max_new_tokens=16, temperature=0.0, stop=("\n",))
_CHAT_SAMPLING = Sampling(max_new_tokens=64, temperature=0.0, chat=True)
_FIRST_GRADE = re.compile(
    r"\W*(?:(?:grade|score|rating|relevance)\W+|(?!1\.[*\s]))"
    r"(?<![.-])(\d+(?:\.\d+)?)(?:\s*(?:/|out of)\s*10)?"
    r"[*\"')\]]*(?:[.:][*\"')\]]*\s|\s[–—-]\s|\s*\n)",
    re.IGNORECASE,
)
"""A grade at the beginning of a reply, and the end of its clause. `1.` begins a list as well, of
which thoughts may consist."""

JudgeRequests = Sequence[tuple[str, Sequence[str]]]
"""Passages, each with its queries."""
JudgedLists = list[list[tuple[float, int]]]
"""For each passage and its queries, a score and the number of tokens that it sums over; nan and 0
where the engine has no usable score for a pair."""


def judge_ql(llm: LLM, prompt: Prompt, requests: JudgeRequests) -> JudgedLists:
    """Judge each passage and its queries: (log P(query | passage), tokens of the query)."""
    scored = llm.score(
        [
            ScoreRequest(
                prompt.render(passage=passage),
                tuple(prompt.render(1, query=query) for query in queries),
            )
            for passage, queries in requests
        ]
    )
    return [
        [(score.logprob, score.tokens) for score in passage_scores] for passage_scores in scored
    ]


def judge_rc(llm: LLM, prompt: Prompt, requests: JudgeRequests) -> JudgedLists:
    """Judge each passage and its queries: (log-odds of yes against no, tokens of the query)."""
    scored = _score_verdicts(llm, prompt, requests, VERDICTS, alone=True)
    return [
        [(compute_log_odds(score), score.tokens) for score in passage_scores]
        for passage_scores in scored
    ]


def judge_graded(llm: LLM, prompt: Prompt, requests: JudgeRequests) -> JudgedLists:
    """Judge each passage and its queries: (expected grade from 0 to 3, tokens of the query)."""
    scored = _score_verdicts(llm, prompt, requests, GRADES, alone=True)
    return [
        [(compute_expected_grade(score), score.tokens) for score in passage_scores]
        for passage_scores in scored
    ]


class FusedJudge(NamedTuple):
    """Scores of QL and RC of the same pairs."""

    ql: JudgedLists
    rc: JudgedLists


def judge_fused(llm: LLM, prompt: Prompt, requests: JudgeRequests) -> FusedJudge:
    """Judge each pair by QL and RC in one pass with the prompt of RC: before the verdict come the
    query and the end of its line, the same few tokens for every pair."""
    scored = _score_verdicts(llm, prompt, requests, VERDICTS, alone=False)
    return FusedJudge(
        [[(score.logprob, score.tokens) for score in passage_scores] for passage_scores in scored],
        [
            [(compute_log_odds(score), score.tokens) for score in passage_scores]
            for passage_scores in scored
        ],
    )


def compute_log_odds(score: Score) -> float:
    """Compute the log-odds of the first ending, yes, against the second, no."""
    yes, no = score.endings
    return yes - no


def compute_expected_grade(score: Score) -> float:
    """Compute the mean of the grades 0, 1, 2, ... weighted by the endings' probabilities."""
    highest = max(score.endings)
    weights = [math.exp(logprob - highest) for logprob in score.endings]
    return sum(grade * weight for grade, weight in enumerate(weights)) / sum(weights)


def judge_in_words(
    llm: LLM, prompt: Prompt, requests: JudgeRequests, chat: bool, model: LanguageModel
) -> JudgedLists:
    """Judge each passage and its queries: (grade from 0 to 10, 0 tokens). A reply without a grade
    counts as 0: it does not speak for the passage. One that failed, is empty, or was cut off before
    it said a grade is no verdict: its grade is nan.

    Args:
        model: the settings of the LLM.
    """
    pairs = [(passage, query) for passage, queries in requests for query in queries]
    prompts = [prompt.render(passage=passage, query=query) for passage, query in pairs]
    sampling = _CHAT_SAMPLING if chat else _WORD_SAMPLING
    if model.verdict_tokens:
        sampling = replace(sampling, max_new_tokens=model.verdict_tokens)
    replies = llm.generate(prompts, [0] * len(prompts), sampling)
    left = iter([_read_grade(reply) for reply in replies])
    return [[(next(left), 0) for _ in queries] for _, queries in requests]


def _read_grade(reply: Completion) -> float:
    text = (strip_thoughts(reply.text) or "").strip()
    if reply.fault or not text:
        return math.nan
    first = _read_first_grade(text)
    if not reply.finished:
        return first
    # An explanation behind the grade may hold other numbers.
    grade = parse_grade(text, HIGHEST_WORD_GRADE)
    return grade if grade is not None else (0.0 if math.isnan(first) else first)


def _read_first_grade(text: str) -> float:
    """Read the grade at the beginning of a reply that explains it ("8. The passage explains"); nan
    where it begins otherwise, as thoughts do. A number that nothing follows may lack its last
    digit."""
    found = _FIRST_GRADE.match(text)
    grade = float(found[1]) if found else math.nan
    return grade if grade <= HIGHEST_WORD_GRADE else math.nan


def parse_grade(text: str, highest: float = 10) -> float | None:
    """Parse the grade from 0 to `highest` in an answer: "7", "7/10", "7 out of 10", "Relevance:
    7.5", or a sentence with a single number; None where it has none, or more than one."""
    scale = f"{highest:g}".replace(".", r"\.")
    number = r"(?<![\w.-])(\d+(?:\.\d+)?)"
    with_scale = re.findall(rf"{number}\s*(?:/|out of|of)\s*{scale}(?![\d.]*\d)", text)
    after_colon = re.findall(rf":\W*{number}\W*$", text)
    numbers = with_scale or after_colon or re.findall(number, text)
    if len(set(numbers)) != 1:
        return None
    grade = float(numbers[0])
    return grade if grade <= highest else None


def _score_verdicts(
    llm: LLM, prompt: Prompt, requests: JudgeRequests, verdicts: Sequence[str], alone: bool
) -> list[list[Score]]:
    """Score the verdicts, `alone` or with the queries before them."""
    return llm.score(
        [_make_request(prompt, passage, queries, verdicts, alone) for passage, queries in requests]
    )


def _make_request(
    prompt: Prompt, passage: str, queries: Sequence[str], verdicts: Sequence[str], alone: bool
) -> ScoreRequest:
    stems = [prompt.render(1, query=query, verdict="").rstrip() for query in queries]
    texts = [prompt.render(1, query=queries[0], verdict=verdict) for verdict in verdicts]
    # With the space before it, which most tokenizers make part of the word.
    endings = tuple(text[len(stems[0]) :] for text in texts)
    if not all(text.startswith(stems[0]) for text in texts) or len({*endings, ""}) <= len(verdicts):
        raise UserError(
            str(prompt.path),
            "its second part does not end in the verdict",
            "end it in {{ verdict }}, after a space",
        )
    return ScoreRequest(prompt.render(passage=passage), tuple(stems), endings, alone)
