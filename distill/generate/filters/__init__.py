"""What of the parsed queries is kept: one filter a file, `stage` applies them in order."""

from distill.generate.filters.decontaminate import Decontaminator, decontaminator
from distill.generate.filters.stage import make_queries

__all__ = ["Decontaminator", "decontaminator", "make_queries"]
