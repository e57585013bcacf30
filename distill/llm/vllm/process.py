"""A copy of a model in vLLM, in a child process of its own (`vllm_model` is what runs there).

vLLM starts processes that outlive a parent which is killed, and keep its GPU; and that end at the
terminal's Ctrl-C, with the rows in flight. The child stands between: it ends, and ends vLLM with
it, when its parent is gone, and it is in a session of its own, which Ctrl-C does not reach.
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
"""Unless set otherwise: vLLM reports nothing to its makers, and little to the screen."""


class ModelProcess:
    """`ask`, then `answer`. The first answer, unasked for, is the most tokens that a prompt and its
    continuation may have, when the model is loaded."""

    def __init__(self, name: str, options: dict[str, Any], gpus: Sequence[str] | None) -> None:
        self._name = name
        self._connection, theirs = Pipe()
        environment = _ENVIRONMENT | os.environ
        if gpus is not None:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "distill.llm.vllm.worker", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env=environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        theirs.close()
        self._send(options)

    def ask(self, method: str, *arguments: Any) -> None:
        """
        Raises:
            EngineFailure: if the process has ended.
        """
        self._send((method, *arguments))

    def _send(self, message: Any) -> None:
        try:
            self._connection.send(message)
        except OSError:
            raise self._ended() from None

    def answer(self) -> Any:
        """What the copy answers to the question asked last.

        Raises:
            UserError: if vLLM refuses it.
            EngineFailure: if its process ended.
        """
        try:
            fault, result = self._connection.recv()
        except (EOFError, OSError):
            raise self._ended() from None
        if fault:
            raise UserError(f"model {self._name!r}", f"vLLM refuses: {fault}", "mend the recipe")
        return result

    def _ended(self) -> EngineFailure:
        return EngineFailure(
            f"model {self._name!r}",
            "vLLM's process ended",
            "its own messages above say why; a smaller llm.max_model_tokens or llm.gpu_memory "
            "helps against a lack of memory",
        )

    def stop(self) -> None:
        """End the child and all that vLLM started in it."""
        self._connection.close()
        try:
            self._process.wait(_SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def stop_all(copies: Sequence[ModelProcess]) -> None:
    for copy in copies:
        copy.stop()


def list_visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named:
        return [gpu.strip() for gpu in named.split(",")]
    return [str(number) for number in range(torch.cuda.device_count())]
