"""A recipe of a query encoder over a tiny teacher's document vectors, without an LLM."""

from pathlib import Path

from distill.recipe import Recipe, load_recipe

TEXTS = ["The heart pumps blood.", "A glacier is a river of ice."]


def load_query_side(recipe_file: Path, teacher: Path, *sets: str) -> Recipe:
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


def load_query_route(recipe_file: Path, encoder: Path, *sets: str) -> Recipe:
    """The recipe of a student that is a transformer."""
    settings = [
        "student.layers=null",
        "student.route=query",
        "train={batch_size: 8, epochs: 2, device: cpu, checkpoint_steps: 3, learning_rate: 1e-3}",
        "train.objective={corpus_softmax: 1.0}",
    ]
    return load_query_side(recipe_file, encoder, *settings, *sets)
