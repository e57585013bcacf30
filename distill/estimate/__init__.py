"""What a recipe will take of tokens, time and money: `distill estimate`."""

from distill.estimate.amounts import Amount, Estimate, StageEstimate
from distill.estimate.estimate import estimate
from distill.estimate.prices import Prices
from distill.estimate.render import as_json, render

__all__ = ["Amount", "Estimate", "Prices", "StageEstimate", "as_json", "estimate", "render"]
