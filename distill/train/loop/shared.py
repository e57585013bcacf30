"""The parts of sentence-transformers' trainer that the trainings of the student and of the judge
share: how they write checkpoints and log, on one device a process."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from sentence_transformers.base.modules import Module
from sentence_transformers.util import fullname
from transformers import PreTrainedModel, Trainer, TrainingArguments

from distill.files.atomic import name_full_disk
from distill.models.sentence_transformer import find_moved_base
from distill.train.loop.callbacks import LOGGING_STEPS

Arguments = TypeVar("Arguments", bound=TrainingArguments)


class CheckpointingTrainer(Trainer):
    """A base class that stands before one of sentence-transformers' trainers: without the model
    card's statistics, for which that would read all data, and ask the hub about it."""

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Add no callback."""

    def _save_checkpoint(self, *args: Any, **named: Any) -> None:
        # In its place, not beside: a checkpoint counts once its marker stands in it.
        with name_full_disk(Path(str(self.args.output_dir))), _skip_model_card(self.model):
            super()._save_checkpoint(*args, **named)

    def _load_from_checkpoint(self, checkpoint_path: str, model: Any = None) -> None:
        """Load a checkpoint's weights by way of the CPU: sentence-transformers' own method puts a
        second whole model on the default device. An adapter's base is that of the model itself,
        wherever the run was when the checkpoint was written. Where the model is spread,
        transformers names it, and reads its parts."""
        if model is not None:
            Trainer._load_from_checkpoint(self, checkpoint_path, model)
            return
        trained: Any = self.model
        classes = {fullname(of): type(of) for of in trained.modules() if isinstance(of, Module)}
        with find_moved_base(Path(checkpoint_path), _find_base(trained)) as whole:
            loaded = type(trained)._load_with_module_classes(
                str(whole), classes, device="cpu", trust_remote_code=False
            )
        trained.load_state_dict(loaded.state_dict())


def _find_base(model: torch.nn.Module) -> Path:
    """Return the folder that the model's transformer was read from. A model without one has no
    adapter, and so no base."""
    transformers = (of for of in model.modules() if isinstance(of, PreTrainedModel))
    return Path(next((str(of.name_or_path) for of in transformers), "")).resolve()


@contextmanager
def _skip_model_card(model: Any) -> Iterator[None]:
    """Have the model save itself without a model card, which a checkpoint does not need, and which
    takes longer to write than a small model's weights."""
    model.save_pretrained = partial(model.save_pretrained, create_model_card=False)
    try:
        yield
    finally:
        del model.save_pretrained


def list_shared_arguments(folder: Path, checkpoint_steps: int, device: str) -> dict[str, Any]:
    """List the arguments of a training with checkpoints in `folder`."""
    return {
        "output_dir": str(folder),
        "use_cpu": device == "cpu",
        "save_strategy": "steps",
        "save_steps": checkpoint_steps,
        "save_total_limit": 2,  # the older one goes before the newer one's marker is there
        "logging_steps": LOGGING_STEPS,
        "logging_first_step": True,
        "logging_nan_inf_filter": False,
        "disable_tqdm": True,
        "dataloader_pin_memory": torch.cuda.is_available(),
    }


def use_one_gpu(args: Arguments) -> Arguments:
    """Keep the trainer from splitting each batch over all GPUs that there are."""
    if args.n_gpu > 1:
        args._n_gpu = 1
    return args
