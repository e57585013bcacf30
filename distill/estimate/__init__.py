"""Estimates of the tokens, time and money that a recipe takes."""
