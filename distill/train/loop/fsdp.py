"""A student whose training is larger than a device: weights, gradients and the optimiser's state
spread over the processes (FSDP 2), as `accelerate launch --config_file
recipes/accelerate/fsdp.yaml` asks for. Each process holds the whole model too."""

import copy
from typing import Any

from sentence_transformers import SentenceTransformer
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

from distill.errors import UserError
from distill.recipe import Train
from distill.runtime import processes
from distill.student.base_model import get_first_transformer

_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


def check_sharded(train: Train, with_projection: bool) -> None:
    """Refuse what accelerate cannot spread: it knows the model's own weights alone.

    Raises:
        UserError: naming the key.
    """
    if not processes.is_sharded():
        return
    if train.base_dtype != "float32":
        raise UserError(
            f"train.base_dtype {train.base_dtype}",
            "keeps frozen weights apart from trained ones, which FSDP spreads together",
            "set it to float32: each process has its part of the weights alone",
        )
    if train.infonce.learn_temperature and train.objective.infonce:
        raise _explain_conflict("train.infonce.learn_temperature", "set it to false")
    if train.objective.align and with_projection:
        remedy = "take a teacher of the student's width, or drop align"
        raise _explain_conflict("train.objective.align with a projection", remedy)


def copy_for_sharding(model: SentenceTransformer) -> SentenceTransformer:
    """Copy what accelerate may spread, layer by layer; the model itself stays whole, to be looked
    at and saved."""
    copied: Any = copy.deepcopy(model)
    # What has no gradient has no state in the optimiser, and is missed where it is read back.
    if (unused := getattr(get_first_transformer(copied).model, "pooler", None)) is not None:
        unused.requires_grad_(False)
    # Where accelerate looks for a last norm of its own to spread: else it takes the module that
    # makes vectors of unit length for one, which cannot be.
    copied.base_model_prefix = "0"
    spread: SentenceTransformer = copied
    return spread


def gather_weights(spread: SentenceTransformer, whole: SentenceTransformer) -> None:
    """Give the first process' whole model the weights of the one that is spread. Every process must
    call this."""
    weights = get_model_state_dict(spread, options=_WHOLE)
    if processes.is_main():
        whole.load_state_dict(weights)


def _explain_conflict(key: str, remedy: str) -> UserError:
    return UserError(key, "has parameters of its own, which FSDP does not spread", remedy)
