"""The verdict in one sentence."""

from distill.corpus.held_out import JUDGED
from distill.evaluate.summary import (
    BM25_ROLE,
    Origin,
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
_ORIGINS: dict[Origin, str] = {
    "titles": "a search for documents by their titles",
    "sentences": "a search for documents by sentences, which does not decide on BM25",
    "llm": "an LLM's judgments",
    "llm and person": "an LLM's judgments and {verdicts} verdicts of a person",
}
"""What stands in for labels."""


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
    if basis := _describe_basis(summary):
        advice = f"{basis}: {advice}"
    return f"{advice}: the student is {join_words(standings)}." if standings else f"{advice}."


def _describe_basis(summary: Summary) -> str:
    """Describe what the verdict rests on in the place of labels: `By an LLM's judgments`, `In part
    by ...`; empty where there are labels alone."""
    origins = list_origins(summary)
    stand_ins = [_ORIGINS[of] for of in origins.values() if of in _ORIGINS]
    verdicts = get_verdict(summary).get("person_verdicts", 0)
    told = join_words(stand_ins).format(verdicts=verdicts)
    word = "By" if len(stand_ins) == len(origins) else "In part by"
    return f"{word} {told}" if told else ""


def list_origins(summary: Summary) -> dict[str, Origin]:
    """List where the answers of the averaged tasks come from; of a summary that does not say, an
    LLM's are known by the task's name."""
    known = get_verdict(summary).get("rests_on")
    by_name: dict[str, Origin] = {JUDGED: "llm"}
    return known or {task: by_name.get(task, "labels") for task in list_averaged_tasks(summary)}


def name_in_sentence(role: str) -> str:
    """Name a role within a sentence: `the student`, but `BM25`."""
    own = role in ("student", "teacher") or role.startswith("base")
    return f"the {format_role(role)}" if own else format_role(role)


def join_words(words: list[str]) -> str:
    """Join words as a sentence does: `a, b and c`."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
