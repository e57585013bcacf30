"""The figures of an estimate: numbers of which perhaps only bounds are known, a line a stage."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import reduce


@dataclass(frozen=True)
class Amount:
    """A number of which perhaps only bounds are known: `low` <= the amount <= `high`; a `high` of
    None is no bound. The unknown is expressed by bounds, never by a guess between them."""

    low: float
    high: float | None

    def __add__(self, other: "Amount") -> "Amount":
        if self.high is None or other.high is None:
            return Amount(self.low + other.low, None)
        return Amount(self.low + other.low, self.high + other.high)

    def multiply(self, factor: "Amount | float") -> "Amount":
        """Multiply bounds by bounds; without an upper bound on either side there is none."""
        other = factor if isinstance(factor, Amount) else make_exact_amount(factor)
        if self.high is None or other.high is None:
            return Amount(self.low * other.low, None)
        return Amount(self.low * other.low, self.high * other.high)

    @property
    def text(self) -> str:
        """The amount for people, such as `1,234` or `at most 1.2 million`."""
        return format_amount(self, format_count)


ZERO = Amount(0.0, 0.0)
UNKNOWN = Amount(0.0, None)


def make_exact_amount(value: float) -> Amount:
    """Make an amount that is known exactly."""
    return Amount(value, value)


def make_bounded_amount(value: float) -> Amount:
    """Make an amount of which only the upper bound is known."""
    return Amount(0.0, value)


def format_count(value: float) -> str:
    """Format a count: 1,234; in millions from ten of them on."""
    return f"{value:,.0f}" if value < 1e7 else f"{value / 1e6:,.1f}M"


def format_amount(amount: Amount, number: Callable[[float], str]) -> str:
    """Format an amount's bounds in words, with `number` to format numbers."""
    if amount.high is None:
        return f"≥ {number(amount.low)}" if amount.low else "?"
    low, high = number(amount.low), number(amount.high)
    if low == high:
        return high
    return f"{low} to {high}" if amount.low else f"≤ {high}"


def sum_amounts(amounts: Iterable[Amount | None]) -> Amount | None:
    """Add amounts. None stands for an amount that does not apply, and so does the sum of no
    amounts."""
    applying = [amount for amount in amounts if amount is not None]
    return reduce(Amount.__add__, applying) if applying else None


@dataclass(frozen=True)
class StageEstimate:
    """One stage. `amount` counts `unit`s; tokens, seconds, cost, bytes on the `disk` and `shards`
    are None where the stage has none, or where they are not estimated. `shared_tokens` are those
    prompt tokens that the engine has computed already."""

    stage: str
    amount: Amount
    unit: str
    prompt_tokens: Amount | None = None
    shared_tokens: Amount | None = None
    new_tokens: Amount | None = None
    seconds: Amount | None = None
    cost: Amount | None = None
    disk: Amount | None = None
    shards: Amount | None = None
    note: str = ""


@dataclass(frozen=True)
class Estimate:
    """The estimate of a whole recipe, with `lines` in the order of the stages. `basis` says what
    the figures are based on; `currency` is None without prices."""

    recipe: str
    lines: list[StageEstimate]
    basis: list[str] = field(default_factory=list)
    currency: str | None = None

    @property
    def total(self) -> StageEstimate:
        """The line of totals. Its time is that of the stages whose time is known: `note` names the
        others."""
        lines = self.lines
        timed = {line.stage: line.seconds for line in lines if line.seconds is not None}
        unknown = [stage for stage, seconds in timed.items() if seconds.high is None]
        return StageEstimate(
            stage="total",
            amount=ZERO,
            unit="",
            prompt_tokens=sum_amounts(line.prompt_tokens for line in lines),
            shared_tokens=sum_amounts(line.shared_tokens for line in lines),
            new_tokens=sum_amounts(line.new_tokens for line in lines),
            seconds=sum_amounts(seconds for seconds in timed.values() if seconds.high is not None),
            cost=sum_amounts(line.cost for line in lines),
            disk=sum_amounts(line.disk for line in lines),
            shards=sum_amounts(line.shards for line in lines),
            note=f"time without {', '.join(unknown)}" if unknown else "",
        )
