"""Export of a model that embeds queries and documents by two models."""
