"""Filters of the parsed queries: one filter a file; `stage` applies them in order."""

from distill.generate.filters.stage import make_queries
from distill.tasks.decontaminate import Decontaminator

__all__ = ["Decontaminator", "make_queries"]
