"""Draw what the prompt of an example asks for besides its task, from the published choices
(E5-Mistral, appendix C), as far as there is room for them."""

import random
from collections.abc import Mapping, Sequence

from distill.errors import UserError
from distill.recipe import Brainstorm, Group

_DIFFICULTY = ("high school", "college", "PhD")
_CLARITY = ("clear", "understandable with some effort", "ambiguous")
_HIGH_SCORE = ("4", "4.5", "5")

_CHOICES: Mapping[Group, Mapping[str, Sequence[str]]] = {
    "short-long": {
        "query_type": ("extremely long-tail", "long-tail", "common"),
        "query_length": ("less than 5 words", "5 to 15 words", "at least 10 words"),
        "difficulty": _DIFFICULTY,
        "clarity": _CLARITY,
    },
    "long-short": {"difficulty": _DIFFICULTY, "clarity": _CLARITY},
    "short-short": {},
    "long-long": {},
    "sts": {
        "unit": ("sentence", "phrase", "passage"),
        "difficulty": ("elementary school", "high school", "college"),
        "high_score": _HIGH_SCORE,
        "low_score": ("2.5", "3", "3.5"),
    },
    "bitext": {"high_score": _HIGH_SCORE, "low_score": ("1.5", "2", "2.5")},
}
_NUM_WORDS: Mapping[Group, Mapping[int, str]] = {
    "short-long": {n: str(n) for n in (50, 100, 200, 300, 400, 500)},
    "long-short": {
        10: "less than 10",
        20: "at least 10",
        50: "at least 50",
        100: "at least 100",
        200: "at least 200",
    },
    "long-long": {n: str(n) for n in (50, 100, 200, 300)},
}
"""Words of a long text, and how the prompt says it."""
_LONG_TEXTS: Mapping[Group, int] = {"short-long": 2, "long-short": 1, "long-long": 2}
_TOKENS_PER_WORD = 2
_REST = 60
"""Tokens of an example besides its long texts."""


def draw_placeholders(
    group: Group, settings: Brainstorm, seed: int, item_id: str
) -> dict[str, str]:
    """Draw one choice for each placeholder of the group's prompt, by the recipe's seed and the
    item."""
    draw = random.Random(f"{seed}|{item_id}")
    drawn = {name: draw.choice(choices) for name, choices in _CHOICES[group].items()}
    if group in _NUM_WORDS:
        drawn["num_words"] = draw.choice(_list_fitting_lengths(group, settings.max_new_tokens))
    if group == "bitext":
        drawn["source_language"], drawn["target_language"] = draw.sample(settings.languages, 2)
    else:
        drawn["language"] = draw.choice(settings.languages)
    return drawn


def check_languages(settings: Brainstorm) -> None:
    """Refuse translations between fewer than two languages."""
    if "bitext" in settings.groups and len(set(settings.languages)) < 2:
        raise UserError(
            f"generate.brainstorm.languages {settings.languages}",
            "the group bitext needs two languages to translate between",
            "name another language, or leave bitext out of generate.brainstorm.groups",
        )


def _list_fitting_lengths(group: Group, max_new_tokens: int) -> list[str]:
    """Return the lengths that these tokens have room for; the least one in any case."""
    most = (max_new_tokens - _REST) // (_TOKENS_PER_WORD * _LONG_TEXTS[group])
    lengths = _NUM_WORDS[group]
    return [said for words, said in lengths.items() if words <= max(most, min(lengths))]
