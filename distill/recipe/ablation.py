"""The section `ablation`: variants of one recipe, compared by `distill ablate`."""

from typing import Any

from pydantic import Field

from distill.recipe.section import Section, Seed


class Ablation(Section):
    arms: dict[str, dict[str, Any]] = {}
    """By name, the keys in which an arm differs, such as {relabel.positive: seed}. The first arm is
    what the others are compared with."""
    seeds: list[Seed] = Field([0, 1, 2], min_length=1)
    """Of training: each arm's student is trained once with each."""
