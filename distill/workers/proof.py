"""The proof that a worker gives before it is given work: that it is the same program and reads the
same folder as the process that writes the run."""

import hashlib
import os
import secrets
import socket
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from distill.errors import UserError
from distill.runtime.versions import read_versions
from distill.workers.node_copy import CopySource, NodeCopy, use_copy

NONCE = ".workers.part"
"""In the run's folder while it has workers; a run that was killed removes it when it continues."""


class ProofRequest(NamedTuple):
    """The driver's versions and code, for a worker to compare with its own.

    Args:
        copies: from where a node without the run's folder copies what its workers read; None: it
            is refused.
    """

    folder: Path
    working_folder: Path
    nonce: str
    versions: dict[str, str]
    source: str
    copies: CopySource | None = None


class WorkerIdentity(NamedTuple):
    """A worker that has proved that it is the same, and on which node it is."""

    node: str
    pid: int


def write_proof_request(folder: Path, copies: CopySource | None = None) -> ProofRequest:
    """Write a random word into the run's folder, and describe this process."""
    nonce = secrets.token_hex(16)
    folder = folder.absolute() if copies else folder.resolve()
    (folder / NONCE).write_text(nonce)
    return ProofRequest(folder, Path.cwd(), nonce, read_versions(), hash_source(), copies)


@cache
def hash_source() -> str:
    """Hash distill's own code."""
    root = Path(__file__).parents[1]
    content = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        content.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return content.hexdigest()[:16]


def describe_differences(versions: Mapping[str, str], source: str) -> str:
    """Say what this process has in other versions than another one, and whether its code differs;
    empty where it is the same.

    Args:
        source: the hash of the other's code.
    """
    own = read_versions()
    differs = {
        name: f"{own.get(name, 'none')} instead of {versions.get(name, 'none')}"
        for name in {**versions, **own}
        if own.get(name) != versions.get(name)
    }
    if hash_source() != source:
        differs["distill's code"] = f"{hash_source()} instead of {source}"
    return ", ".join(f"{name} {what}" for name, what in differs.items())


def prove(request: ProofRequest, node: str = "") -> WorkerIdentity:
    """Compare this worker with the driver, and go to the driver's working folder, which relative
    paths of the recipe begin at.

    Args:
        node: the worker's node as the cluster names it; its host's name by default.

    Raises:
        UserError: naming the node, and what is missing or different there.
    """
    node = node or socket.gethostname()
    try:
        nonce = (request.folder / NONCE).read_text()
    except OSError as fault:
        nonce = f"({fault.strerror})"
    use_copy(None)
    if nonce != request.nonce and request.copies is not None:
        use_copy(NodeCopy(request.folder, request.copies, node))
    elif nonce != request.nonce:
        raise UserError(
            f"node {node}",
            f"does not see the run's folder {request.folder}",
            "mount the same folder at the same path on every node, and name it with --run; or set "
            "store and execution.inputs: copy, and the node fetches what it reads",
        )
    try:
        os.chdir(request.working_folder)
    except OSError as fault:
        raise UserError(
            f"node {node}",
            f"cannot enter the folder {request.working_folder}, in which the run was begun: "
            f"{fault.strerror}",
            "begin the run in a folder that every node has",
        ) from fault
    differs = describe_differences(request.versions, request.source)
    if differs:
        raise UserError(
            f"node {node}",
            f"has other versions than the process that writes the run: {differs}",
            "install the same environment on every node, such as one container image",
        )
    return WorkerIdentity(node, os.getpid())
