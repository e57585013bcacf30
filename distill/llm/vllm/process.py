"""A copy of a model in vLLM, in a child process of its own (which runs `worker`).

vLLM starts processes that outlive a killed parent and keep its GPU, and that end at the terminal's
Ctrl-C, with the rows in flight. The child prevents both: it ends, and ends vLLM with it, when its
parent is gone, and it is in a session of its own, which Ctrl-C does not reach.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing import Pipe
from typing import Any

import torch

from distill.errors import EngineFailure, UserError

_SECONDS_TO_STOP = 20.0
_ENVIRONMENT = {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "WARNING"}
"""Unless set otherwise, vLLM sends no usage statistics and logs warnings only."""

_LAUNCHERS = ("TORCHELASTIC_", "GROUP_", "ROLE_", "LOCAL_")
_OF_A_LAUNCHER = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class ModelProcess:
    """Sends calls to a copy of the model and receives their results: `send`, then `receive`.

    The first result comes without a call, when the model is loaded: the most tokens that a prompt
    and its continuation may have."""

    def __init__(self, name: str, options: dict[str, Any], gpus: Sequence[str] | None) -> None:
        self._name = name
        self._connection, theirs = Pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "distill.llm.vllm.worker", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env=make_environment(gpus),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        theirs.close()
        self._send_message(options)

    def send(self, method: str, *arguments: Any) -> None:
        """Send a call.

        Raises:
            EngineFailure: if the process has ended.
        """
        self._send_message((method, *arguments))

    def _send_message(self, message: Any) -> None:
        try:
            self._connection.send(message)
        except OSError:
            raise self._make_failure() from None

    def receive(self) -> Any:
        """Receive the result of the last call.

        Raises:
            UserError: if vLLM refuses it.
            EngineFailure: if its process ended.
        """
        try:
            fault, result = self._connection.recv()
        except (EOFError, OSError):
            raise self._make_failure() from None
        if fault:
            raise UserError(f"model {self._name!r}", f"vLLM refuses: {fault}", "fix the recipe")
        return result

    def _make_failure(self) -> EngineFailure:
        return EngineFailure(
            f"model {self._name!r}",
            "vLLM's process ended",
            "its own messages above say why; if memory ran out, lower llm.max_model_tokens or "
            "llm.gpu_memory",
        )

    def stop(self) -> None:
        """End the child and all processes that vLLM started in it."""
        self._connection.close()
        try:
            self.process.wait(_SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def stop_all(copies: Sequence[ModelProcess]) -> None:
    """End all copies."""
    for copy in copies:
        copy.stop()


def make_environment(gpus: Sequence[str] | None) -> dict[str, str]:
    """Make the environment of a copy.

    What accelerate or torchrun tell a process of its training is left out. With it vLLM's own
    processes would look for their store at that launcher, where there is none, until they give up.

    Args:
        gpus: as CUDA names them; None on a CPU.
    """
    known = {
        name: value
        for name, value in (_ENVIRONMENT | os.environ).items()
        if name not in _OF_A_LAUNCHER and not name.startswith(_LAUNCHERS)
    }
    return known if gpus is None else known | {"CUDA_VISIBLE_DEVICES": ",".join(gpus)}


def list_visible_gpus() -> list[str]:
    """List the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible:
        return [gpu.strip() for gpu in visible.split(",")]
    return [str(number) for number in range(torch.cuda.device_count())]
