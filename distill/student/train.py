"""The training of the student, on sentence-transformers' trainer."""

import random
import shutil
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, DatasetDict
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.base.sampler import DefaultBatchSampler
from torch.utils.data import RandomSampler
from transformers import PrinterCallback

from distill.devices import best_device, torch_dtype
from distill.errors import UserError
from distill.models import revision
from distill.progress import Progress
from distill.recipe import Recipe, Train
from distill.run import Run, Stage, write_json
from distill.student.callbacks import LOGGING_STEPS, Checkpoints, Curve, Ticker
from distill.student.folder import move_into_place, write_beside
from distill.student.losses import Objective, alignment, make_projection
from distill.student.mixture import Mixture, make_mixture
from distill.student.sampler import SimilarLengths
from distill.tables import EXAMPLES, PASSAGES
from distill.teacher.vectors import TeacherRows, teacher_vectors

_SAMPLE = 256
"""So many texts tell how near the student is to its teacher."""


def train_student(
    run: Run, recipe: Recipe, passages: Stage | None, examples: Sequence[Stage], base: Stage
) -> Stage:
    """The stage `student`: the base trained on the examples and aligned with the teacher, a
    sentence-transformers model; `training.json` beside it holds the loss and its terms by step.

    Resumes at the newest complete checkpoint, with the weights of an undisturbed run.

    Args:
        passages: None for a recipe without a corpus.
        examples: one or several, of which every row is trained on.

    Raises:
        UserError: if there is no example, there is no corpus to draw texts to align from, the
            widths do not fit the base, the device is not to be had, or the loss stops being a
            number.
    """
    _check(recipe.train, examples, base)
    _check_texts(recipe, passages)
    corpus = [] if passages is None else [passages]
    stage = run.stage("student", _settings(recipe), [*corpus, *examples, base])
    checkpoints = stage.book / "checkpoints"
    if stage.complete:
        shutil.rmtree(checkpoints, ignore_errors=True)
        return stage
    begun = time.perf_counter()

    mixture = make_mixture(
        recipe,
        [row for folder in examples for row in folder.rows(EXAMPLES)],
        [row for folder in corpus for row in folder.rows(PASSAGES)],
    )
    teacher = None
    if recipe.train.objective.align:
        teacher = teacher_vectors(run, recipe, mixture.queries, mixture.passages, mixture.others)
    model = SentenceTransformer(
        str(base.folder), device=recipe.train.device, local_files_only=True, trust_remote_code=False
    )
    width = int(base.manifest["figures"]["dimensions"])
    projection = make_projection(width, teacher.dimensions if teacher else width, recipe.seed)
    objective = Objective(model, recipe.train, teacher.take if teacher else None, projection)
    before = _nearness(objective, mixture, teacher, recipe.seed)

    curve = _train(recipe, objective, mixture, checkpoints)

    part = write_beside(stage, model)
    write_json(part / "training.json", {"curve": curve})
    move_into_place(stage, part)
    stage.finish(
        seconds=time.perf_counter() - begun,
        examples=mixture.examples,
        texts=mixture.texts,
        steps=curve[-1]["step"],
        loss_first=curve[0]["loss"],
        loss_last=curve[-1]["loss"],
        cosine_to_teacher_before=before,
        cosine_to_teacher_after=_nearness(objective, mixture, teacher, recipe.seed),
    )
    shutil.rmtree(checkpoints, ignore_errors=True)
    return stage


def _train(
    recipe: Recipe, objective: Objective, mixture: Mixture, folder: Path
) -> list[dict[str, float]]:
    """Train the objective's model in place. Returns the curve."""
    checkpoints = Checkpoints(folder, objective)
    with Progress("train", 0, "steps") as progress:
        trainer = _Trainer(
            model=objective.model,
            args=_arguments(recipe, folder),
            train_dataset=DatasetDict(mixture.datasets),
            loss=objective,
            callbacks=[Curve(objective), checkpoints, Ticker(progress)],
        )
        trainer.remove_callback(PrinterCallback)
        newest = checkpoints.newest()
        if newest is not None:
            checkpoints.restore(newest)
        trainer.train(resume_from_checkpoint=str(newest) if newest else None)
    return [line for line in trainer.state.log_history if "loss" in line]


class _Trainer(SentenceTransformerTrainer):
    """Without the model card's statistics, for which the trainer would read all data, and ask the
    hub about it."""

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        pass


def _arguments(recipe: Recipe, folder: Path) -> SentenceTransformerTrainingArguments:
    train = recipe.train
    device = train.device or best_device()
    args = SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        num_train_epochs=train.epochs,
        per_device_train_batch_size=train.batch_size,
        learning_rate=train.learning_rate,
        warmup_steps=train.warmup,  # below 1: a share of the steps
        lr_scheduler_type=train.schedule,
        bf16=torch_dtype(train.dtype, device) == torch.bfloat16,
        use_cpu=device == "cpu",
        seed=recipe.seed if train.seed is None else train.seed,
        batch_sampler=partial(_batches, train),
        save_strategy="steps",
        save_steps=train.checkpoint_steps,
        save_total_limit=2,  # the older one goes before the newer one's marker is there
        logging_steps=LOGGING_STEPS,
        logging_first_step=True,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
    )
    if args.n_gpu > 1:
        args._n_gpu = 1  # else the trainer splits each batch over all of them
    return args


def _batches(
    train: Train, dataset: Dataset, batch_size: int, generator: torch.Generator, **rest: Any
) -> DefaultBatchSampler:
    """Plain texts have a batch size of their own and, since each is aligned by itself, batches of
    similar length; the examples of a batch are each other's negatives and stay random."""
    if "text" in dataset.column_names:
        lengths = [len(text) for text in dataset["text"]]
        size = train.align.batch_size
        return SimilarLengths(lengths, batch_size=size, generator=generator, **rest)
    shuffled = RandomSampler(dataset, generator=generator)
    return DefaultBatchSampler(shuffled, batch_size=batch_size, generator=generator, **rest)


def _nearness(
    objective: Objective, mixture: Mixture, teacher: TeacherRows | None, seed: int
) -> float | None:
    """Mean cosine of student and teacher over a sample of the texts (or else the positives)."""
    if teacher is None:
        return None
    texts = mixture.datasets.get("texts")
    column = "text" if texts else "positive"
    dataset = texts or next(iter(mixture.datasets.values()))
    chosen = random.Random(seed).sample(range(len(dataset)), min(_SAMPLE, len(dataset)))
    rows = dataset.select(chosen)
    vectors = objective.model.encode(
        list(rows[column]), convert_to_tensor=True, prompt="", show_progress_bar=False
    )
    numbers = torch.tensor([label[-1 if column == "text" else 1] for label in rows["label"]])
    with torch.no_grad():
        projected = objective.projection.to(vectors.device)(vectors)
    distance = alignment(projected, teacher.take(numbers).to(vectors.device))
    return round(1 - float(distance), 4)


def _settings(recipe: Recipe) -> dict[str, Any]:
    settings = {
        "student": recipe.student.model_dump(),
        "train": recipe.train.model_dump(exclude={"device", "checkpoint_steps"}),
        "seed": recipe.seed,
    }
    if recipe.train.objective.align and recipe.teacher.model is not None:
        settings["teacher"] = {
            "model": recipe.teacher.model,
            "revision": revision(recipe.teacher.model),
            "max_tokens": recipe.teacher.max_tokens,
        }
    return settings


def _check_texts(recipe: Recipe, passages: Stage | None) -> None:
    if passages is not None or not recipe.train.objective.align:
        return
    for key in ("passages", "sentences"):
        if count := getattr(recipe.train.align, key):
            raise UserError(
                f"train.align.{key} {count}",
                "the recipe has no corpus to draw them from",
                f"set train.align.{key} to 0, or name a corpus",
            )


def _check(train: Train, examples: Sequence[Stage], base: Stage) -> None:
    if not any(folder.manifest["rows"] for folder in examples):
        raise UserError(
            ", ".join(str(folder.folder) for folder in examples) or "examples",
            "there is no example to train on",
            "generate more queries, or filter fewer of them",
        )
    width = int(base.manifest["figures"]["dimensions"])
    widths = train.widths if train.widths is not None else [width]
    if max(widths, default=0) != width or min(widths) < 1:
        raise UserError(
            f"train.widths {widths}",
            f"the student has {width} dimensions",
            f"name widths from 1 to {width}, {width} among them",
        )
    if train.device not in (None, "cpu", "cuda", "mps"):
        raise UserError(
            f"train.device {train.device!r}",
            "is none of cpu, cuda, mps",
            "choose one of several GPUs with CUDA_VISIBLE_DEVICES",
        )
    if train.device == "cuda" and not torch.cuda.is_available():
        raise UserError("train.device 'cuda'", "torch sees no CUDA device", "train.device: cpu")
