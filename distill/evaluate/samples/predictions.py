"""What a model predicted on a task, as mteb wrote it into a folder, beside the rows it is of."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distill.files.atomic import read_json


def read_predictions(task: Any, folder: Path) -> Iterator[tuple[str, Any, Any]]:
    """Of each subset and split: its key split/subset, its rows, what was predicted of them."""
    written = read_json(folder / task.prediction_file_name)
    for subset in task.hf_subsets:
        of_subset = task.dataset.get(subset, task.dataset)
        for split in task.eval_splits:
            yield f"{split}/{subset}", of_subset[split], written[subset][split]
