"""The steps before a run: a first recipe for a corpus, and the checks of a recipe."""
