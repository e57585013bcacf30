"""Checks of a recipe before anything is spent, one kind a file."""
