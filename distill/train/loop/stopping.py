"""A training that is asked to stop: it ends behind the step in flight, with a checkpoint of it."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from distill.runtime.interrupt import Interrupt
from distill.runtime.processes import is_true_anywhere

_LAST_LINE, _LOSS = "step_of_last_line", "loss"
_TERM = "term."


class StopOnInterrupt(TrainerCallback):
    """After a signal, saves a checkpoint at the end of the optimiser's step, and then ends the
    trainer's run: no step that was finished is lost. `stopping` says that it was so.

    Of several processes all stop behind the same step, whichever got the signal: they ask each
    other after every one. At the last step there is nothing to stop, and the weights themselves
    are written next.

    After SIGTERM the step and its checkpoint have the `SECONDS_AFTER_SIGTERM` of
    `distill.runtime.interrupt`. If they take longer the process ends as if it were killed: that
    checkpoint has no marker, and the last regular one counts.

    It stands behind `Curve` and `Checkpoints`, which do something else where a regular checkpoint
    or the training's end is due.
    """

    def __init__(self, interrupt: Interrupt) -> None:
        self.interrupt = interrupt
        self.stopping = False

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if control.should_training_stop:
            return
        self.stopping = is_true_anywhere(self.interrupt.is_requested)
        if self.stopping:
            control.should_save = True

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if self.stopping:
            control.should_training_stop = True


class UnloggedSums(TrainerCallback):
    """The sums of the loss and its terms since the curve's last line, in a checkpoint that stands
    between two lines: with them the curve of a training that was stopped is that of an undisturbed
    one. Regular checkpoints stand right behind a line, and have none.

    It stands before `Checkpoints`, whose marker is of all files of a checkpoint.

    Args:
        terms: the objective's; each process has its own, as it has its own sum of losses.
        checkpoint: the one that the training resumes at.
    """

    def __init__(
        self, trainer: Trainer, terms: dict[str, list[Tensor]], checkpoint: Path | None
    ) -> None:
        self.trainer = trainer
        self.terms = terms
        self.checkpoint = checkpoint

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if self.checkpoint is None or not (path := _make_path(self.checkpoint, args)).exists():
            return
        sums = {name: values.to(args.device) for name, values in load_file(path).items()}
        self.trainer._globalstep_last_logged = int(sums.pop(_LAST_LINE))
        self.trainer._tr_loss = sums.pop(_LOSS)
        for name, values in sums.items():
            self.terms[name.removeprefix(_TERM)].extend(values.unbind())

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        last_line = self.trainer._globalstep_last_logged
        if last_line == state.global_step:
            return
        sums = {_LAST_LINE: torch.tensor(last_line), _LOSS: self.trainer._tr_loss}
        sums |= {_TERM + name: torch.stack(values) for name, values in self.terms.items()}
        save_file(sums, _make_path(Path(f"{args.output_dir}/checkpoint-{state.global_step}"), args))


def _make_path(checkpoint: Path, args: TrainingArguments) -> Path:
    return checkpoint / f"unlogged_{args.process_index}.safetensors"
