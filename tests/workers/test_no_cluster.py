"""A recipe that names a cluster which is not there."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import NamedTuple

import pytest
from helpers.fresh_process import FreshProcess, run_command

pytestmark = pytest.mark.slow
NOBODY = "127.0.0.1:9"


@pytest.fixture(scope="module")
def other_server() -> Iterator[str]:
    """The address of a server that hangs up on everybody."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            while True:
                try:
                    server.accept()[0].close()
                except OSError:
                    return

        threading.Thread(target=hang_up, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


class Refused(NamedTuple):
    """A command that named a cluster, and the folder of its run."""

    done: CompletedProcess[str]
    run: Path
    address: str


@pytest.fixture(scope="module")
def refused(recipe_file, tmp_path_factory, other_server) -> dict[str, Refused]:
    """All commands at once, for each of them waits."""
    places = {"nobody": NOBODY, "environment": "auto", "other server": other_server}
    folder = tmp_path_factory.mktemp("refused")
    started = {}
    for name, address in places.items():
        execution = f"execution={{mode: ray, address: '{address}'}}"
        words = ["generate", str(recipe_file), "--run", str(folder / name), "--set", execution]
        environment = {"RAY_ADDRESS": NOBODY} if address == "auto" else {}
        started[name] = FreshProcess(
            folder / f"{name} process",
            run_command,
            *words,
            environment={"COLUMNS": "400", **environment},
        )
    return {
        name: Refused(process.wait(), folder / name, places[name])
        for name, process in started.items()
    }


def check_refused(refused: Refused) -> None:
    done = refused.done
    assert done.returncode == 2, done.stderr
    assert f"the Ray cluster '{refused.address}'" in done.stderr
    assert "cannot be reached" in done.stderr
    assert "ray start --head" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.bad_input("cluster", "an address at which nobody answers", "refused after 10 seconds")
def test_cluster_that_does_not_answer_is_refused(refused):
    check_refused(refused["nobody"])
    assert "Connection refused" in refused["nobody"].done.stderr
    assert (refused["nobody"].run / "passages").is_dir()  # what was done before is kept


@pytest.mark.bad_input("cluster", "RAY_ADDRESS of a cluster that is gone", "refused, named")
def test_cluster_that_the_environment_names_and_that_is_gone_is_refused(refused):
    check_refused(refused["environment"])
    assert NOBODY in refused["environment"].done.stderr


@pytest.mark.bad_input("cluster", "the address of a server that is no Ray", "refused in a minute")
def test_server_that_is_no_ray_is_refused(refused):
    check_refused(refused["other server"])
