"""Asks an encoder as mteb does."""

import datasets
from torch.utils.data import DataLoader


def encode_as_mteb(model, texts, task="SciFact", side=None, titles=None):
    """As mteb asks; of documents with their titles, where they have some."""
    import mteb
    from mteb.types import PromptType

    columns = {"text": texts} | ({"body": texts, "title": titles} if titles else {})
    return model.encode(
        DataLoader(datasets.Dataset.from_dict(columns), batch_size=5),
        task_metadata=mteb.get_task(task).metadata,
        hf_split="test",
        hf_subset="default",
        prompt_type=PromptType(side) if side else None,
        batch_size=32,
        show_progress_bar=False,
    )


def score_as_mteb(model, task):
    import mteb

    result = mteb.evaluate(
        model, task, cache=None, co2_tracker=False, show_progress_bar=False
    ).task_results[0]
    return result.scores
