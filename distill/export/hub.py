"""Upload a finished export to a repository of the Hugging Face hub, on request only."""

import re
from pathlib import Path

from huggingface_hub import HfApi, constants, get_token

from distill.errors import UserError
from distill.remote.connect import check_environment

_NAME = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


def check_push(name: str) -> None:
    """Check, before anything is exported, that a push can begin.

    Raises:
        UserError: if the name is no hub id, or there is no token.
    """
    if not _NAME.fullmatch(name):
        raise UserError(f"--push {name!r}", "is no hub id", "give OWNER/NAME")
    if get_token() is None:
        raise UserError(
            f"--push {name}",
            "there is no token for the hub",
            "set HF_TOKEN in the environment, or `hf auth login`",
        )


def push(folder: Path, name: str) -> str:
    """Upload the folder in one commit, and return the commit's address. A repository that is not
    there yet is made private.

    Raises:
        UserError: if the hub refuses or cannot be reached. Its own message is not repeated: it may
            hold what the request did.
    """
    api = HfApi()
    try:
        api.create_repo(name, private=True, exist_ok=True)
        return str(api.upload_folder(repo_id=name, folder_path=folder))
    except Exception as fault:  # noqa: BLE001 (a proxy that is none raises anything)
        check_environment(constants.ENDPOINT)
        raise UserError(
            f"--push {name}",
            f"could not be uploaded ({type(fault).__name__}); {folder} is complete",
            f"check the token's rights and the network, then `hf upload {name} {folder}`",
        ) from None
