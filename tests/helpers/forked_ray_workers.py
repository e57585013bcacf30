"""Worker processes of Ray's nodes, without the ten seconds in which each would import torch and
sentence-transformers: forked from a process that has imported them and done nothing else. A node
starts a small program in the place of Python, which asks that process for a worker and waits for
the worker's end."""

import atexit
import gc
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from helpers.fresh_process import CONTEXT

_AT_START = ("OMP_", "MKL_", "ATEN_", "LD_", "CUDA_", "MALLOC_", "PYTHONPATH", "HF_")
"""Environment variables that libraries read when they are loaded: a worker for which they differ is
started by Python itself."""

_PROGRAM = """#!{python} -IS
import json, os, socket, sys
words = sys.argv[1:]
at_start = {{name: value for name, value in os.environ.items() if name.startswith({names})}}
if not words or not words[0].endswith("default_worker.py") or at_start != {environment}:
    os.execv({python!r}, [{python!r}, *words])
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
job = dict(words=words, environment=dict(os.environ), folder=os.getcwd(), node=os.getppid())
socket.send_fds(server, [json.dumps(job).encode()], [0, 1, 2])
server.shutdown(socket.SHUT_WR)
sys.exit(int(server.recv(8) or 1))
"""


class ForkedWorkers:
    """Forks the workers of the nodes that are started with it."""

    def __init__(self) -> None:
        self._folder = Path(mkdtemp(prefix="forked-"))
        address = str(self._folder / "socket")
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(address)
        self._listening.listen()
        self._program = self._folder / "python"
        self._program.write_text(
            _PROGRAM.format(
                python=sys.executable,
                names=_AT_START,
                environment=_list_at_start(),
                address=address,
            )
        )
        self._program.chmod(0o755)
        self._server = CONTEXT.Process(
            target=_serve, args=(self._listening, dict(os.environ), self._folder), daemon=True
        )
        self._server.start()

    @contextmanager
    def start_nodes(self) -> Iterator[None]:
        """Nodes that are started meanwhile have their workers forked."""
        python, sys.executable = sys.executable, str(self._program)
        try:
            yield
        finally:
            sys.executable = python

    def find_node(self, worker: int) -> int | None:
        """Return the process of the node that has asked for a worker, if it was forked."""
        file = self._folder / str(worker)
        return int(file.read_text()) if file.exists() else None

    def stop(self) -> None:
        self._server.kill()
        self._listening.close()


def _list_at_start() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(_AT_START)}


def _serve(listening: socket.socket, environment: dict[str, str], folder: Path) -> None:
    """Fork a worker for each that asks, and tell it how the worker has ended."""
    gc.freeze()  # no collection goes through the libraries' objects, and copies their memory
    os.environ.clear()
    os.environ.update(environment)
    import sentence_transformers  # noqa: F401

    ends = selectors.DefaultSelector()
    ends.register(listening, selectors.EVENT_READ)
    while True:
        for key, _ in ends.select():
            if key.fileobj is listening:
                asks, _ = listening.accept()
                child = _start_worker(asks, folder, listening)
                if child is not None:
                    ends.register(os.pidfd_open(child), selectors.EVENT_READ, (child, asks))
            else:
                ends.unregister(key.fd)
                os.close(key.fd)
                _end(*key.data)


def _start_worker(asks: socket.socket, folder: Path, listening: socket.socket) -> int | None:
    """Start a worker; None where the one that asks was killed before it had said all."""
    message, files, _, _ = socket.recv_fds(asks, 1 << 20, 3)
    while more := asks.recv(1 << 20):
        message += more
    try:
        job = json.loads(message)
    except ValueError:
        for file in files:
            os.close(file)
        asks.close()
        return None
    child = os.fork()
    if child:
        for file in files:
            os.close(file)
        return child
    listening.close()
    asks.close()
    # Before anybody can know this process, and ask for its node.
    (folder / str(os.getpid())).write_text(str(job["node"]))
    code = 1
    try:
        code = _run_worker(job, files)
    finally:
        os._exit(code)


def _end(child: int, asks: socket.socket) -> None:
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with asks:
        try:
            asks.send(str(code % 256).encode())
        except OSError:  # the node was killed, and its program with it
            return


def _run_worker(job: dict[str, Any], files: list[int]) -> int:
    """Run Ray's own program of a worker in this process."""
    for number, file in enumerate(files):
        os.dup2(file, number)
    os.environ.clear()
    os.environ.update(job["environment"])
    os.chdir(job["folder"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", 1, closefd=False) for number in (1, 2))
    sys.argv = words = job["words"]
    sys.path[0:0] = [str(Path(words[0]).parent)]
    try:
        runpy.run_path(words[0], run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception:  # noqa: BLE001 (the process ends with it)
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return code
