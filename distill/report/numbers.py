"""Numbers as a person reads them; a dash for what is not known."""

from distill.evaluate.summary import Difference

NONE = "–"


def format_score(value: float | None, digits: int = 4) -> str:
    """Format a score with four decimals, or so many digits."""
    return NONE if value is None else f"{value:.{digits}f}"


def format_signed(value: float | None, digits: int = 4) -> str:
    """Format a number with a true minus, which is as wide as the plus."""
    return NONE if value is None else f"{value:+.{digits}f}".replace("-", "−")


def format_interval(of: Difference) -> str:
    """Format the interval of a difference; empty where the task has no values of single items."""
    if of["low"] is None or of["high"] is None:
        return ""
    return format_range(of["low"], of["high"])


def format_range(low: float, high: float) -> str:
    """Format the two ends of an interval."""
    return f"{format_signed(low)} to {format_signed(high)}"


def format_probability(value: float | None) -> str:
    """Format a probability with three decimals, or as `< 0.001`."""
    if value is None:
        return NONE
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def format_share(value: float | None) -> str:
    """Format a share as a percentage."""
    return NONE if value is None else f"{value:.1%}"


def format_ratio(value: float | None) -> str:
    """Format a ratio: 3.42×."""
    return NONE if value is None else f"{value:.2f}×"


def format_whole(value: int | None) -> str:
    """Format a whole number, thousands separated."""
    return NONE if value is None else f"{value:,}"


def format_tenths(value: float | None) -> str:
    """Format a number with one decimal, thousands separated."""
    return NONE if value is None else f"{value:,.1f}"


def format_short(value: float | None) -> str:
    """Format a number of parameters: 17.4M."""
    if value is None:
        return NONE
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.1f}{unit}"
    return f"{value:.0f}"


def format_size(value: float | None) -> str:
    """Format bytes, in decimal units."""
    if value is None:
        return NONE
    for unit, power in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= power:
            return f"{value / power:.1f} {unit}"
    return f"{value:.0f} B"


def format_seconds(seconds: float) -> str:
    """Format seconds as seconds, minutes or hours."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def compute_ratio(one: float | None, other: float | None) -> float | None:
    """Divide one by the other; None where either is unknown or the divisor is 0."""
    return one / other if one is not None and other else None
