"""The section `ablation`: variants of one recipe, compared by `distill ablate`."""

from typing import Any

from pydantic import Field

from distill.recipe.sections.section import Section, Seed


class Ablation(Section):
    arms: dict[str, dict[str, Any]] = {}
    """The variants to compare, by name: for each, the keys in which it differs, such as
    {relabel.positive: seed}. The first variant is the baseline of the comparison."""
    seeds: list[Seed] = Field([0, 1, 2], min_length=1)
    """Training seeds; every variant's student is trained once with each of them."""
