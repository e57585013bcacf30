"""The judge's training: listwise cross-entropy (ListNet) by sentence-transformers' trainer, with
checkpoints and progress as the student's."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from datasets import Dataset
from sentence_transformers import CrossEncoder
from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
from sentence_transformers.cross_encoder.losses import ListNetLoss
from transformers import PrinterCallback

from distill.errors import UserError
from distill.recipe import DistilledJudge
from distill.runtime.devices import choose_device
from distill.runtime.interrupt import Interrupt
from distill.runtime.out_of_memory import is_out_of_memory
from distill.runtime.progress import Progress
from distill.train.judge.lists import TeachingList, choose_candidates
from distill.train.loop.callbacks import CheckpointCallback, CurveCallback, ProgressCallback
from distill.train.loop.shared import CheckpointingTrainer, list_shared_arguments, use_one_gpu
from distill.train.loop.stopping import StopOnInterrupt, UnloggedSums


def fit_judge(
    judge: DistilledJudge,
    seed: int,
    model: CrossEncoder,
    lists: Sequence[TeachingList],
    texts: Mapping[str, str],
    folder: Path,
) -> list[dict[str, float]]:
    """Train the model in place, and return its loss by step. Resumes at the newest checkpoint in
    the folder, with the weights of an undisturbed training.

    Args:
        texts: of all candidates in the lists, by id.

    Raises:
        KeyboardInterrupt: if it was stopped before its last step; a checkpoint has every finished
            step.
        UserError: if the loss becomes NaN, or memory does not suffice.
    """
    checkpoints = CheckpointCallback(folder)
    with Interrupt("step") as interrupt, Progress("judge", 0, "steps") as progress:
        stop = StopOnInterrupt(interrupt)
        trainer = _JudgeTrainer(
            model=model,
            args=_make_arguments(judge, seed, folder),
            train_dataset=_make_dataset(judge, lists, texts),
            loss=ListNetLoss(model, mini_batch_size=-1),
            callbacks=[CurveCallback({}, "judge"), ProgressCallback(progress)],
        )
        trainer.remove_callback(PrinterCallback)
        newest = checkpoints.find_newest()
        for callback in (UnloggedSums(trainer, {}, newest), checkpoints, stop):
            trainer.add_callback(callback)
        try:
            trainer.train(resume_from_checkpoint=str(newest) if newest else None)
        except RuntimeError as fault:
            if not is_out_of_memory(fault):
                raise
            raise UserError(
                f"training the judge on {judge.device or choose_device()}",
                f"memory does not suffice ({str(fault).partition(chr(10))[0]})",
                "lower judge.batch_size, judge.list_size or judge.max_tokens",
            ) from None
        if stop.stopping:
            raise KeyboardInterrupt
    model.eval()
    return [
        {"step": line["step"], "loss": line["loss"]}
        for line in trainer.state.log_history
        if "loss" in line
    ]


class _JudgeTrainer(CheckpointingTrainer, CrossEncoderTrainer):
    """Train a cross-encoder with checkpoints like the student's."""


def _make_dataset(
    judge: DistilledJudge, lists: Sequence[TeachingList], texts: Mapping[str, str]
) -> Dataset:
    chosen = [choose_candidates(of, judge.list_size) for of in lists]
    return Dataset.from_dict(
        {
            "query": [of.query for of in chosen],
            "documents": [[texts[id_] for id_ in of.passage_ids] for of in chosen],
            "label": [[target / judge.temperature for target in of.targets] for of in chosen],
        }
    )


def _make_arguments(
    judge: DistilledJudge, seed: int, folder: Path
) -> CrossEncoderTrainingArguments:
    args = CrossEncoderTrainingArguments(
        num_train_epochs=judge.epochs,
        per_device_train_batch_size=judge.batch_size,
        learning_rate=judge.learning_rate,
        warmup_steps=judge.warmup,  # below 1: a share of the steps
        seed=seed,
        report_to="none",
        **list_shared_arguments(folder, judge.checkpoint_steps, judge.device or choose_device()),
    )
    return use_one_gpu(args)
