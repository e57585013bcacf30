"""What a recipe will take of tokens, time and money: `distill estimate`."""

from distill.estimate.amounts import Amount, Estimate, Line
from distill.estimate.estimate import estimate
from distill.estimate.prices import Prices
from distill.estimate.render import as_json, render

__all__ = ["Amount", "Estimate", "Line", "Prices", "as_json", "estimate", "render"]
