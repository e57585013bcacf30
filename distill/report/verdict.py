"""The verdict in one sentence."""

from distill.corpus.held_out import JUDGED
from distill.evaluate.summary import (
    BM25_ROLE,
    Summary,
    format_role,
    list_averaged_tasks,
    list_bases,
)
from distill.evaluate.verdict import get_verdict

_STANDING = {
    "better": "better than",
    "level": "level with",
    "worse": "worse than",
    "unclear": "not told apart from",
}


def write_headline(summary: Summary) -> str:
    """Write the verdict in one line: what to ship, and how the student stands to its base, to BM25
    and to its teacher."""
    verdict = get_verdict(summary)
    compared = verdict["comparisons"]
    others = [*list_bases(compared), *(r for r in (BM25_ROLE, "teacher") if r in compared)]
    standings = [f"{_STANDING[compared[role]['kind']]} {name_in_sentence(role)}" for role in others]
    advice = f"Ship {name_in_sentence(verdict['system'])}"
    if verdict["advice"] == "hybrid":
        advice = f"Ship the hybrid, {format_role(verdict['system'])}"
    averaged = list_averaged_tasks(summary)
    if JUDGED in averaged:
        alone = len(averaged) == 1
        advice = f"{'By' if alone else 'In part by'} an LLM's judgments: {advice}"
    return f"{advice}: the student is {join_words(standings)}." if standings else f"{advice}."


def name_in_sentence(role: str) -> str:
    """Name a role within a sentence: `the student`, but `BM25`."""
    own = role in ("student", "teacher") or role.startswith("base")
    return f"the {format_role(role)}" if own else format_role(role)


def join_words(words: list[str]) -> str:
    """Join words as a sentence does: `a, b and c`."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
