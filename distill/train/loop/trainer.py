"""sentence-transformers' trainer as we use it: batches of token numbers, our samplers, our
checkpoints."""

import os
import re
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from datasets import Dataset, DatasetDict
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.base.sampler import DefaultBatchSampler
from sentence_transformers.sentence_transformer.data_collator import (
    SentenceTransformerDataCollator,
)
from transformers import PrinterCallback, Trainer

from distill.recipe import Train
from distill.runtime import processes
from distill.runtime.devices import choose_device, get_torch_dtype
from distill.runtime.interrupt import Interrupt
from distill.runtime.progress import Progress
from distill.student.base_model import get_first_transformer
from distill.train.data.exposure import limit_steps
from distill.train.data.mixture import Mixture
from distill.train.data.sampler import MixedBatchSampler, NoSharedPositiveSampler
from distill.train.data.tokenized import TokenizedTexts
from distill.train.loop.callbacks import (
    CheckpointCallback,
    CurveCallback,
    EpochCallback,
    MemoryCallback,
    ProgressCallback,
    ValidationCallback,
)
from distill.train.loop.diagnostics import SIGNS_OF_COLLAPSE, Diagnostics
from distill.train.loop.fsdp import copy_for_sharding, gather_weights
from distill.train.loop.memory import explain_out_of_memory
from distill.train.loop.model_overrides import keep_padding, override_attention
from distill.train.loop.shared import CheckpointingTrainer, list_shared_arguments, use_one_gpu
from distill.train.loop.stopping import StopOnInterrupt, UnloggedSums
from distill.train.loop.weight_averaging import WeightAverager
from distill.train.objectives import CombinedLoss


class TrainingLog(NamedTuple):
    """A training's lines by step: the loss with its terms, and the validations."""

    curve: list[dict[str, float]]
    validations: list[dict[str, float]]
    averaged_steps: list[int]
    """The steps whose weights were averaged; empty where the last step's weights are used."""


def fit(
    train: Train,
    seed: int,
    objective: CombinedLoss,
    mixture: Mixture,
    tokens: TokenizedTexts,
    diagnostics: Diagnostics,
    folder: Path,
    interrupt: Interrupt,
    run_name: str = "distill",
) -> TrainingLog:
    """Train the objective's model in place, resuming at the newest checkpoint in the folder.

    Args:
        interrupt: when set, the training stops behind the step in flight.
        run_name: name of the training in trackers.

    At the end the model has the weights that `train.keep` and `train.soup` choose.

    Raises:
        KeyboardInterrupt: if it stopped before its last step; a checkpoint has every finished step.
    """
    model = trained = objective.model  # which the trainer may wrap
    if processes.is_sharded():
        objective.model = trained = copy_for_sharding(model)
    checkpoints = CheckpointCallback(folder, objective.auxiliary)
    stop = StopOnInterrupt(interrupt)
    averager = _make_averager(train, folder)
    with Progress("train", 0, "steps") as progress:
        rates = _map_learning_rates(train, objective)
        arguments = _make_arguments(train, seed, folder, tokens, run_name, rates)
        if (most := limit_steps(mixture, train)) is not None:
            arguments.max_steps = most
        trainer = _make_trainer(arguments, objective, mixture, tokens, progress)
        whole = partial(_gather_whole, trained, model)
        with processes.let_main_go_first():
            damaged = None if averager is None else averager.drop_damaged()
            newest = checkpoints.find_newest(before=damaged)
        if newest is not None:
            checkpoints.restore(newest)
        validation = ValidationCallback(
            diagnostics,
            train.validation.every,
            averager,
            trainer.log,
            whole,
            # An index of the teacher's is searched with the untrained encoder too.
            counts_start=train.objective.trains_queries_alone and train.keep == "best",
        )
        sums = UnloggedSums(trainer, objective.terms, newest)
        for callback in (sums, checkpoints, stop, validation):
            trainer.add_callback(callback)
        longest = int(tokens.lengths.max(initial=1))
        with (
            keep_padding(trained),
            override_attention(trained, train.kernel),
            explain_out_of_memory(train, longest),
        ):
            trainer.train(resume_from_checkpoint=str(newest) if newest else None)
        if stop.stopping:
            # A launcher ends all processes when one ends: the first is to have written its marker.
            processes.wait()
            raise KeyboardInterrupt
    objective.model = whole()
    _unwrap(model)
    if averager is not None and processes.is_main():
        averager.average(model)
    return _read_log(trainer, averager)


def _make_trainer(
    arguments: SentenceTransformerTrainingArguments,
    objective: CombinedLoss,
    mixture: Mixture,
    tokens: TokenizedTexts,
    progress: Progress,
) -> "_Trainer":
    trainer = _Trainer(
        model=objective.model,
        args=arguments,
        train_dataset=DatasetDict(mixture.datasets),
        data_collator=SentenceTransformerDataCollator(tokens.collate),
        loss=objective,
        callbacks=[
            CurveCallback(objective.terms),
            EpochCallback(),
            ProgressCallback(progress),
            MemoryCallback(),
        ],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _read_log(trainer: Trainer, averager: WeightAverager | None) -> TrainingLog:
    history = trainer.state.log_history
    return TrainingLog(
        [line for line in history if "loss" in line],
        [line for line in history if line.keys() & SIGNS_OF_COLLAPSE],
        [] if averager is None else averager.list_steps(),
    )


def _gather_whole(trained: SentenceTransformer, model: SentenceTransformer) -> SentenceTransformer:
    """Gather the model with the weights as trained so far: in the first process, where it is
    spread."""
    if trained is not model:
        gather_weights(trained, model)
    return model


def _unwrap(model: SentenceTransformer) -> None:
    """Undo what accelerate did to the model: it replaces `forward` by one in half precision, and
    marks the model as prepared. Otherwise diagnostics after training would differ from those of a
    run that resumed in between."""
    for name in ("forward", "_original_forward", "_is_accelerate_prepared"):
        vars(model).pop(name, None)


def _make_averager(train: Train, folder: Path) -> WeightAverager | None:
    if train.keep == "last" and train.soup == 1:
        return None
    return WeightAverager(folder / "kept", train.keep, train.soup)


class _Trainer(CheckpointingTrainer, SentenceTransformerTrainer):
    """Train a student with checkpoints like the judge's."""


def _make_arguments(
    train: Train,
    seed: int,
    folder: Path,
    tokens: TokenizedTexts,
    run_name: str,
    rates: dict[str, float],
) -> SentenceTransformerTrainingArguments:
    device = choose_train_device(train)
    if "tensorboard" in train.trackers:  # beside the checkpoints, which go when all is done
        place = folder.parent.parent / "tensorboard" / folder.name
        os.environ["TENSORBOARD_LOGGING_DIR"] = str(place)
    args = SentenceTransformerTrainingArguments(
        num_train_epochs=train.epochs,
        per_device_train_batch_size=max(1, train.batch_size // processes.count_processes()),
        learning_rate=train.learning_rate,
        learning_rate_mapping=rates,
        weight_decay=train.weight_decay,
        warmup_steps=train.warmup,  # below 1: a share of the steps
        lr_scheduler_type=train.schedule,
        bf16=get_torch_dtype(train.dtype, device) == torch.bfloat16,
        seed=seed,
        # None where it is off: 5.23 has given the key another name, which 5.19 does not know.
        gradient_checkpointing=train.gradient_checkpointing or None,
        batch_sampler=partial(_make_batches, train, tokens),
        multi_dataset_batch_sampler=partial(
            MixedBatchSampler, processes=processes.count_processes()
        ),
        dataloader_drop_last=processes.count_processes() > 1,
        ddp_broadcast_buffers=False,  # processes may call the model a different number of times
        report_to=list(train.trackers) or "none",
        project="distill",
        run_name=run_name,
        **list_shared_arguments(folder, train.checkpoint_steps, device),
    )
    return use_one_gpu(args)


def _map_learning_rates(train: Train, objective: CombinedLoss) -> dict[str, float]:
    """Return the learning rates of weights that have one of their own, by a pattern of their
    names."""
    if train.embedding_learning_rate is None:
        return {}
    vectors = get_first_transformer(objective.model).model.get_input_embeddings().weight
    names = [name for name, weight in objective.named_parameters() if weight is vectors]
    return {f"^{re.escape(name)}$": train.embedding_learning_rate for name in names}


def choose_train_device(train: Train) -> str:
    """Choose the device that the recipe names, or else the best one available."""
    return train.device or choose_device()


def _make_batches(
    train: Train,
    tokens: TokenizedTexts,
    dataset: Dataset,
    generator: torch.Generator,
    valid_label_columns: list[str] | None = None,
    seed: int = 0,
    **_: Any,
) -> DefaultBatchSampler:
    """Make the batch sampler of one dataset. Plain texts have a batch size of their own and are
    always grouped by length, since each is learnt independently of the others in its batch."""
    columns = [name for name in dataset.column_names if name != "label"]
    lengths = sum(tokens.lengths[dataset[name][:]] for name in columns)
    texts = columns == ["text"]
    return NoSharedPositiveSampler(
        range(len(dataset)) if len(columns) == 1 else [label[2] for label in dataset["label"]],
        lengths if texts or train.group_by_length else None,
        batch_size=train.align.batch_size if texts else train.batch_size,
        processes=processes.count_processes(),
        generator=generator,
        valid_label_columns=valid_label_columns,
        seed=seed,
    )
