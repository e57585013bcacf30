"""What the trainer does besides training: its curve, its progress, its checkpoints."""

import logging
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from distill.errors import UserError
from distill.runtime.processes import is_main, wait
from distill.runtime.progress import Progress
from distill.train.data.sampler import MixedBatchSampler
from distill.train.loop.checkpoint import MARKER, find_fault, mark_complete
from distill.train.loop.diagnostics import Diagnostics
from distill.train.loop.weight_averaging import WeightAverager
from distill.train.objectives import CombinedLoss

LOGGING_STEPS = 10
_ALONG = "trained_along.safetensors"
_log = logging.getLogger(__name__)


class CurveCallback(TrainerCallback):
    """Each term of the loss beside the loss itself, in the trainer's log history.

    A checkpoint is preceded by a log line, so that none of what is averaged is lost with a process
    that is killed, and the curve of a resumed run is the undisturbed one's.
    """

    def __init__(self, objective: CombinedLoss) -> None:
        self.terms = objective.terms

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if control.should_save or control.should_training_stop:
            control.should_log = True

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        line = state.log_history[-1]
        if "loss" not in line:
            return
        if not math.isfinite(line["loss"]):
            raise UserError(
                f"training, step {state.global_step}",
                f"the loss is {line['loss']}",
                "lower train.learning_rate, or raise train.warmup",
            )
        for name, values in self.terms.items():
            line[name] = float(torch.stack(values).mean())
        self.terms.clear()


class EpochCallback(TrainerCallback):
    """Tells our sampler the epoch. The trainer reaches through one wrapper of accelerate's; where a
    run of several processes resumes there are two, and it would shuffle as in another epoch."""

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        sampler = kwargs["train_dataloader"].batch_sampler
        while not isinstance(sampler, MixedBatchSampler):
            sampler = sampler.batch_sampler
        sampler.set_epoch(state.global_step // len(kwargs["train_dataloader"]))


class ProgressCallback(TrainerCallback):
    """The trainer's steps on our progress line."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.progress.total = state.max_steps
        self.progress.done = state.global_step

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.progress.advance()


class CheckpointCallback(TrainerCallback):
    """Completes the trainer's checkpoints: it saves the model, but not what is trained along.

    The marker is written last, so a checkpoint without it is one that a killed process left half
    written. None is saved at the last step, where the model itself is written next.
    """

    MARKER = MARKER

    def __init__(self, folder: Path, objective: CombinedLoss) -> None:
        self.folder = folder
        self.along = objective.trained_along

    def newest(self, before: int | None = None) -> Path | None:
        """The newest complete checkpoint that is what was written; the others are deleted, and
        damaged ones said.

        Args:
            before: those of this step and of later ones are deleted too.
        """
        whole: list[Path] = []
        for path in sorted(self.folder.glob("checkpoint-*"), key=_step_of, reverse=True):
            too_late = before is not None and _step_of(path) >= before
            if too_late or not (path / self.MARKER).exists():
                shutil.rmtree(path)
            elif whole:
                continue
            elif fault := find_fault(path, [_ALONG] if self.along.state_dict() else []):
                _log.warning("%s is damaged: %s. It is not used", path, fault)
                shutil.rmtree(path)
            else:
                whole.append(path)
        return whole[0] if whole else None

    def restore(self, checkpoint: Path) -> None:
        """Load what is trained along; the trainer itself loads the rest."""
        if self.along.state_dict():
            self.along.load_state_dict(load_file(checkpoint / _ALONG))

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if control.should_training_stop:
            control.should_save = False

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        wait()  # each process writes its own state of chance
        if not is_main():
            return
        folder = self.folder / f"checkpoint-{state.global_step}"
        if weights := self.along.state_dict():
            save_file(weights, folder / _ALONG)
        mark_complete(folder)


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


class ValidationCallback(TrainerCallback):
    """Looks at the student before the first step, every so many steps, and at the last; and keeps
    its weights where they may be wanted. `whole` has the model, and is called in every process.

    What is seen goes through the trainer's log, so that a checkpoint holds it, and trackers do.
    """

    def __init__(
        self,
        sight: Diagnostics,
        every: int,
        kept: WeightAverager | None,
        log: Callable[[dict[str, float]], None],
        whole: Callable[[], SentenceTransformer],
    ) -> None:
        self.sight = sight
        self.every = every
        self.kept = kept
        self.log = log
        self.whole = whole

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if state.global_step == 0:
            self._look(state)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if state.global_step % self.every == 0 or control.should_training_stop:
            wanted = control.should_log
            self._look(state)
            control.should_log = wanted  # of the loss; our own line has unset it

    def _look(self, state: TrainerState) -> None:
        model = self.whole()
        if not is_main():
            return
        seen = self.sight.look(model)
        self.log(seen)
        if self.kept is not None and state.global_step:
            self.kept.add(model, state.global_step, seen.get("ndcg@10"))
