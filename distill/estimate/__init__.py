"""What a recipe will take of tokens, time and money: `distill estimate`."""

from distill.estimate.amounts import Amount, Estimate, StageEstimate
from distill.estimate.estimate import estimate
from distill.estimate.prices import Prices
from distill.estimate.render import render, to_json

__all__ = ["Amount", "Estimate", "Prices", "StageEstimate", "estimate", "render", "to_json"]
