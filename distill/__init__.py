"""distill: a corpus and an LLM in, a small embedding model out, measured against its teacher."""

__version__ = "0.1.0"
