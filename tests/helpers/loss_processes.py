"""One step of training by two processes, or by one: what each of them runs."""

from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer
from torch.nn.parallel import DistributedDataParallel

from distill.recipe import Train
from distill.train.objectives import CombinedLoss, make_projection
from helpers.reference_losses import draw_unit_vectors

TEXTS = [f"{'word ' * (1 + 5 * i % 23)} number {i}" for i in range(24)]
"""Of lengths that give two processes different numbers of mini-batches."""
LABELS = torch.tensor(
    [
        [0, 0, 30, 31],
        [1, 1, 32, 33],
        [2, 2, 30, 34],
        [3, 0, 35, 36],
        [4, 4, 37, 30],  # repeats that lie in the other process
        [5, 0, 38, 39],
        [6, 6, 33, 40],
        [7, 7, 41, 42],
    ]
)


def look_up_scores(numbers: torch.Tensor) -> torch.Tensor:
    """Soft scores of two candidates, of which one process knows one list and the other all."""
    scores = draw_unit_vectors(8, 2)
    scores[:3, 1] = torch.nan
    return scores[numbers]


def compute_step(
    encoder: Path, train: Train, rows: slice, distributed: bool
) -> dict[str, torch.Tensor]:
    """The loss of these rows and every gradient."""
    torch.manual_seed(0)
    model = SentenceTransformer(str(encoder), device="cpu").eval()
    objective = CombinedLoss(
        model,
        train,
        lambda numbers: draw_unit_vectors(60, 48)[numbers],
        make_projection(32, 48, seed=1),
        look_up_scores,
    )
    if distributed:
        objective.model = DistributedDataParallel(model, find_unused_parameters=True)
    columns = [TEXTS[8 * column : 8 * (column + 1)][rows] for column in range(3)]
    loss = objective([dict(model.preprocess(texts)) for texts in columns], LABELS[rows])
    loss.backward()
    named = [*model.named_parameters(), *objective.auxiliary.named_parameters()]
    return {"loss": loss.detach()} | {n: p.grad for n, p in named if p.grad is not None}


def run_process(rank: int, encoder: Path, trains: dict[str, Train], folder: Path) -> None:
    """One of two, with its half of the rows. Writes what each training gave into the folder."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=2,
        timeout=timedelta(minutes=5),
    )
    for name, train in trains.items():
        got = compute_step(encoder, train, slice(4 * rank, 4 * rank + 4), distributed=True)
        save_file({k: v.contiguous() for k, v in got.items()}, folder / f"{name}-{rank}")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
