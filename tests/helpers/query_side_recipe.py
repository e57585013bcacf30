"""A recipe of a query encoder over a tiny teacher's document vectors, without an LLM."""

from pathlib import Path

from distill.recipe import Recipe, load_recipe


def adapt_queries(recipe_file: Path, teacher: Path, *sets: str) -> Recipe:
    """The recipe with these settings, which say what the student is and how it learns."""
    settings = [
        "generate.methods=[sentences, keywords]",
        "generate.free={queries: 40}",
        f"retriever={{model: {teacher}, max_tokens: 32, device: cpu, merge: union}}",
        "retriever.sources=[dense, bm25]",
        "relabel={top_k: 4, rankers: [retriever, bm25], positive: seed, negative_count: 0}",
        f"teacher={{model: {teacher}, max_tokens: 32, device: cpu}}",
    ]
    return load_recipe(recipe_file, [*settings, *sets])
