"""The task `known-item`: held-out documents, each searched for by its own title or a sentence."""
