"""A training for which memory does not suffice ends with the settings that need less."""

from collections.abc import Iterator
from contextlib import contextmanager

from distill.errors import UserError
from distill.recipe import Train
from distill.runtime.devices import choose_device, free_memory
from distill.runtime.out_of_memory import is_out_of_memory


@contextmanager
def explain_out_of_memory(train: Train, longest: int) -> Iterator[None]:
    """Raise what torch says of too little memory as an error with its remedy. The checkpoints stay
    as they are: with settings that do not change what is learnt, the same command continues.

    Args:
        longest: tokens of the longest text that is trained on.

    Raises:
        UserError: naming the keys to lower, with their values and half of them.
    """
    try:
        yield
        return
    except RuntimeError as fault:
        if not is_out_of_memory(fault):
            raise
        said = str(fault).partition("\n")[0]
    free_memory()  # here, where the fault holds no tensors any more
    raise UserError(
        f"training on {train.device or choose_device()}",
        f"memory does not suffice ({said})",
        _write_remedy(train, longest),
    )


def _write_remedy(train: Train, longest: int) -> str:
    """Name a remedy: first what does not change what is learnt."""
    tokens, batch = train.mini_batch_tokens, train.batch_size
    same, other = [], []
    if tokens is None:
        half = max(longest, batch * longest // 2)
        same.append(f"set train.mini_batch_tokens, which is not set, to {half} or fewer")
        if batch > 2:
            other.append(f"lower train.batch_size from {batch} to {batch // 2}")
    elif tokens > longest:
        lower = max(longest, tokens // 2)
        same.append(f"lower train.mini_batch_tokens from {tokens} to {lower}")
    if not train.gradient_checkpointing:
        same.append("set train.gradient_checkpointing: true")
    other.append(f"lower student.max_tokens (the longest text has {longest} tokens)")
    change = f"{' or '.join(other)}, which is another training (--overwrite stale)"
    if not same:
        return change
    return (
        f"{' or '.join(same)}: neither changes what is learnt, and the same command continues at "
        f"the newest checkpoint; else {change}"
    )
