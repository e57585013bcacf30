"""The card of a trained judge, `README.md` in its folder. It holds nothing that changes from one
training to the next, for a judge is known by its files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill.files.atomic import commit_bytes
from distill.store.local_name import name_model
from distill.train.judge.base import JudgeTraining

_CARD = """---
library_name: sentence-transformers
pipeline_tag: text-ranking
tags: [cross-encoder, reranker, distill]
---

# Reranker

A cross-encoder of {parameters:,} parameters that scores a query and a passage together, trained by
distill on {lists:,} lists of one corpus, ranked by {teachers}. Made from `{encoder}`.

```python
from sentence_transformers import CrossEncoder

reranker = CrossEncoder("path/to/this/folder", max_length={max_tokens})
reranker.rank("a query", ["one passage", "another passage"], top_k=10)
```

A higher score is better; scores of different queries are not comparable.
{agreement}
Licence: that of `{encoder}` and of the texts that it was trained on; whether they allow your use is
yours to check.
"""
_AGREEMENT = """
On {held_out_lists} lists that it did not learn from it orders {pairs_in_order:.1%} of all pairs of
passages as its teachers do (50 % is chance), and has their first passage first in {same_first:.1%}.
"""


def write_card(folder: Path, training: JudgeTraining, figures: Mapping[str, Any]) -> None:
    """Write the card of a judge with these figures into its folder."""
    agreement = _AGREEMENT.format(**figures) if figures["held_out_lists"] else ""
    text = _CARD.format(
        parameters=figures["parameters"],
        lists=figures["lists"],
        teachers=", ".join(training.teachers),
        encoder=name_model(training.encoder).partition("#")[0],
        max_tokens=training.judge.max_tokens,
        agreement=agreement,
    )
    commit_bytes(folder / "README.md", text.encode())
