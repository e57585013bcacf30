"""Vectors on disk: computed once, kept by what they are of."""
