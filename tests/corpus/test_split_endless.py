"""Words without end (base64, a genome), which are cut between their letters, in linear time."""

from collections.abc import Iterator, Sequence

from distill.corpus.split import TextUnit, group_units


class CountedUnits(Sequence[TextUnit]):
    """Units of one size that count how many of them were taken."""

    def __init__(self, count: int) -> None:
        self._units = [TextUnit(n, n + 1, 3, n % 7 == 0) for n in range(count)]
        self.taken = 0

    def __len__(self) -> int:
        return len(self._units)

    def __getitem__(self, place):
        found = self._units[place]
        self.taken += len(found) if isinstance(place, slice) else 1
        return found


def iterate_groups(units: Sequence[TextUnit], budget: int, pauses: bool) -> Iterator[list[int]]:
    for group in group_units(units, budget, pauses):
        yield [unit.start for unit in group]


def test_units_of_a_word_twice_as_long_take_twice_the_work():
    """What was left of the word was copied for each of its passages."""
    for pauses in (False, True):
        half, whole = CountedUnits(5_000), CountedUnits(10_000)
        for units in (half, whole):
            assert sum(map(len, iterate_groups(units, 60, pauses))) == len(units)
        assert whole.taken <= 2.1 * half.taken


def test_units_are_grouped_up_to_the_budget_or_the_last_pause_of_its_second_half():
    assert list(iterate_groups(CountedUnits(7), 9, False)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(iterate_groups(CountedUnits(12), 30, True)) == [
        [0, 1, 2, 3, 4, 5, 6, 7],
        [8, 9, 10, 11],
    ]
    assert list(iterate_groups(CountedUnits(2), 1, True)) == [[0], [1]]
