"""Callbacks of the trainer: loss curve, progress, checkpoints and validation."""

import logging
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from distill.errors import UserError
from distill.files.atomic import open_atomic_file
from distill.runtime.garbage import return_freed_memory
from distill.runtime.processes import is_main, wait
from distill.runtime.progress import Progress
from distill.train.data.sampler import MixedBatchSampler
from distill.train.loop.checkpoint import MARKER, find_fault, mark_complete
from distill.train.loop.diagnostics import Diagnostics
from distill.train.loop.weight_averaging import WeightAverager

LOGGING_STEPS = 10
_AUXILIARY = "trained_along.safetensors"
"""The file of the objectives' own parameters, by the name that it has in earlier checkpoints."""
_log = logging.getLogger(__name__)


class CurveCallback(TrainerCallback):
    """Each term of the loss beside the loss itself, in the trainer's log history. `section` is the
    recipe's that sets the learning rate.

    A log line is written before each checkpoint, so that a killed process loses no part of the
    averages, and the curve of a resumed run equals that of an undisturbed one.
    """

    def __init__(self, terms: dict[str, list[Tensor]], section: str = "train") -> None:
        self.terms = terms
        self.section = section

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
                f"lower {self.section}.learning_rate, or raise {self.section}.warmup",
            )
        for name, values in self.terms.items():
            line[name] = float(torch.stack(values).mean())
        self.terms.clear()


class EpochCallback(TrainerCallback):
    """Sets the epoch of our sampler. The trainer reaches through one wrapper of accelerate's; where
    several processes resume there are two, and it would shuffle as in another epoch."""

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        sampler = kwargs["train_dataloader"].batch_sampler
        while not isinstance(sampler, MixedBatchSampler):
            sampler = sampler.batch_sampler
        sampler.set_epoch(state.global_step // len(kwargs["train_dataloader"]))


class MemoryCallback(TrainerCallback):
    """Gives what a step has freed back to the system. glibc keeps large blocks for later ones,
    which seldom fit: over a hundred steps on a CPU that adds up to a gibibyte."""

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        return_freed_memory()


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

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if "loss" in state.log_history[-1]:
            self.progress.note = f"loss {state.log_history[-1]['loss']:.4g}"


class CheckpointCallback(TrainerCallback):
    """Adds the auxiliary parameters to the trainer's checkpoints, and marks them complete.

    The marker is written last: a checkpoint without it was left half written by a killed process.
    No checkpoint is saved at the last step, where the model itself is written next.
    """

    MARKER = MARKER

    def __init__(self, folder: Path, auxiliary: nn.Module | None = None) -> None:
        self.folder = folder
        self.auxiliary = auxiliary or nn.Module()

    def find_newest(self, before: int | None = None) -> Path | None:
        """Return the newest complete, undamaged checkpoint. Incomplete and damaged ones are
        deleted, the latter with a warning.

        Args:
            before: checkpoints of this step and of later ones are deleted too.
        """
        intact: list[Path] = []
        for path in sorted(self.folder.glob("checkpoint-*"), key=_parse_step, reverse=True):
            is_too_late = before is not None and _parse_step(path) >= before
            if is_too_late or not (path / self.MARKER).exists():
                shutil.rmtree(path)
            elif intact:
                continue
            elif fault := find_fault(path, [_AUXILIARY] if self.auxiliary.state_dict() else []):
                _log.warning("%s is damaged: %s. It is not used", path, fault)
                shutil.rmtree(path)
            else:
                intact.append(path)
        return intact[0] if intact else None

    def restore(self, checkpoint: Path) -> None:
        """Load the auxiliary parameters; the trainer itself loads the rest."""
        if self.auxiliary.state_dict():
            self.auxiliary.load_state_dict(load_file(checkpoint / _AUXILIARY))

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        state.save_steps = int(args.save_steps)  # a resumed trainer goes by the checkpoint's own

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if control.should_training_stop:
            control.should_save = False

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        wait()  # each process writes its own random state
        if not is_main():
            return
        folder = self.folder / f"checkpoint-{state.global_step}"
        if weights := self.auxiliary.state_dict():
            with open_atomic_file(folder / _AUXILIARY) as beside:
                save_file(weights, beside)
        mark_complete(folder)


def _parse_step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


class ValidationCallback(TrainerCallback):
    """Validates the student before the first step, every `every` steps and at the last one, and
    gives its weights to the averager, those before the first step only if `counts_start`. `whole`
    returns the model, and is called in every process.

    Figures go through the trainer's log, so that checkpoints and trackers have them.
    """

    def __init__(
        self,
        diagnostics: Diagnostics,
        every: int,
        averager: WeightAverager | None,
        log: Callable[[dict[str, float]], None],
        whole: Callable[[], SentenceTransformer],
        counts_start: bool = False,
    ) -> None:
        self.diagnostics = diagnostics
        self.every = every
        self.averager = averager
        self.log = log
        self.whole = whole
        self.counts_start = counts_start

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if state.global_step == 0:
            self._validate(state)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if state.global_step % self.every == 0 or control.should_training_stop:
            should_log_loss = control.should_log
            self._validate(state)
            control.should_log = should_log_loss  # our own log line has unset it

    def _validate(self, state: TrainerState) -> None:
        model = self.whole()
        if not is_main():
            return
        figures = self.diagnostics.compute(model)
        self.log(figures)
        if self.averager is not None and (state.global_step or self.counts_start):
            self.averager.add(model, state.global_step, figures.get("ndcg@10"))
