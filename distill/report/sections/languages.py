"""The languages of the corpus, where it has more than one, by a sample of its passages."""

from collections import Counter

from distill.errors import UserError
from distill.report import numbers
from distill.report.cells import Cell, Grid
from distill.report.run_data import RunData
from distill.store.passages import PassageReader
from distill.store.tables import join_passage
from distill.text.languages import detect_language

_EXAMINED = 500
"""Passages, evenly over the corpus."""
_CHARACTERS = 500
"""Of a passage: more of it changes nothing."""
_LEAST = 0.02
"""Share of the passages in a language; what is rarer may be names, code and mistakes."""


def tabulate_languages(run_data: RunData) -> Grid | None:
    """Tabulate in which languages how many passages are; None for a corpus of one language, or
    whose passages cannot be read."""
    if "passages" not in run_data.complete:
        return None
    try:
        languages = _detect(PassageReader(run_data.folder / "passages"))
    except UserError:
        return None
    least = _LEAST * languages.total()
    frequent = {name: n for name, n in languages.most_common() if name and n >= least}
    if len(frequent) < 2:
        return None
    rest = languages.total() - sum(frequent.values())
    shown = frequent | ({"others, or not certain": rest} if rest else {})
    rows = [
        [
            Cell(name),
            Cell(numbers.format_whole(count), count),
            Cell(
                numbers.format_share(count / languages.total()),
                count,
                bar=count / languages.total(),
            ),
        ]
        for name, count in shown.items()
    ]
    caption = f"Languages of {languages.total():,} passages, evenly over the corpus"
    return Grid(caption, ["language", "passages", "share"], rows, ["passages", "share"])


def _detect(passages: PassageReader) -> Counter[str]:
    """Count passages by language; those of which it is not certain under the empty name."""
    count = len(passages)
    shown = min(count, _EXAMINED)
    picked = [number * count // shown for number in range(shown)]
    texts = (join_passage(row)[:_CHARACTERS] for row in passages.read_rows(picked))
    return Counter(detect_language(text) or "" for text in texts)
