"""The values of single items by split and language, and which items hang together: queries that ask
for the same documents, and a query in several languages."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from distill.evaluate.statistics.rank_metrics import Values

AnswerGroups = Mapping[str, str]
"""By item ("split/subset/id"): the first of the queries that ask for the same documents. Queries
that alone ask for theirs are not named."""
NO_GROUPS: AnswerGroups = MappingProxyType({})
NO_GROUPS_OF_TASKS: Mapping[str, AnswerGroups] = MappingProxyType({})
GroupNumbers = NDArray[np.intp]
"""(n,) the number of each item's group, from 0."""


class ItemPart(NamedTuple):
    """The items of one split and language in the order of their ids: values, (n,) or (n, figures).
    `groups` is None where no two items hang together."""

    name: str
    ids: tuple[str, ...]
    values: Values
    groups: GroupNumbers | None

    @property
    def draws(self) -> int:
        """How many are drawn: groups, or items where there are none."""
        return len(self.values) if self.groups is None else int(self.groups.max()) + 1

    @property
    def grouping(self) -> tuple[int, ...]:
        """The groups, to be compared with those of other parts."""
        return () if self.groups is None else tuple(self.groups.tolist())


def split_parts(
    values: Mapping[str, float] | Mapping[str, tuple[float, ...]], groups: AnswerGroups
) -> list[ItemPart]:
    """Split items ("split/subset/id") by split and language, each of which counts the same in a
    task's score."""
    by_part: dict[str, list[str]] = {}
    for item in sorted(values):
        by_part.setdefault("/".join(item.split("/", 2)[:2]), []).append(item)
    return [
        ItemPart(
            name,
            tuple(item.split("/", 2)[2] for item in items),
            np.array([values[item] for item in items], np.float64),
            number_groups([groups.get(item, item) for item in items]),
        )
        for name, items in by_part.items()
    ]


def number_groups(names: Sequence[str]) -> GroupNumbers | None:
    """Number the groups that items are in by these names; None where each is alone."""
    numbers: dict[str, int] = {}
    for name in names:
        numbers.setdefault(name, len(numbers))
    if len(numbers) == len(names):
        return None
    return np.array([numbers[name] for name in names], np.intp)


class SharedDraws:
    """Generators of random numbers for the parts of a task, one after the other. Parts with the
    same ids, such as a query in several languages, get the same numbers: the same items are drawn
    of each, so that what they have in common stays in the spread of their mean. Where the ids are
    the same by chance the spread is right as well."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._begun: dict[object, np.random.Generator] = {}

    def choose_generator(self, ids: object) -> np.random.Generator:
        """Choose the generator for a part with these ids."""
        if ids in self._begun:
            return deepcopy(self._begun[ids])
        self._begun[ids] = deepcopy(self._rng)
        return self._rng
