"""Texts to vectors on disk; search over them."""
