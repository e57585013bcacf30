"""A recipe that names a cluster which is not there."""

import socket
import threading
from collections.abc import Iterator

import pytest
from helpers.fresh_process import run_distill

pytestmark = pytest.mark.slow


@pytest.fixture
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


def generate(recipe_file, folder, address: str, **environment: str):
    execution = f"execution={{mode: ray, address: '{address}'}}"
    words = ["generate", str(recipe_file), "--run", str(folder), "--set", execution]
    return run_distill(*words, COLUMNS="400", **environment)


def check_refused(done, address: str) -> None:
    assert done.returncode == 2, done.stderr
    assert f"the Ray cluster '{address}'" in done.stderr
    assert "cannot be reached" in done.stderr
    assert "ray start --head" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.bad_input("cluster", "an address at which nobody answers", "refused after 10 seconds")
def test_cluster_that_does_not_answer_is_refused(recipe_file, tmp_path):
    done = generate(recipe_file, tmp_path / "run", "127.0.0.1:9")
    check_refused(done, "127.0.0.1:9")
    assert "Connection refused" in done.stderr
    assert (tmp_path / "run" / "passages").is_dir()  # what was done before is kept


@pytest.mark.bad_input("cluster", "RAY_ADDRESS of a cluster that is gone", "refused, named")
def test_cluster_that_the_environment_names_and_that_is_gone_is_refused(recipe_file, tmp_path):
    done = generate(recipe_file, tmp_path / "run", "auto", RAY_ADDRESS="127.0.0.1:9")
    check_refused(done, "auto")
    assert "127.0.0.1:9" in done.stderr


@pytest.mark.bad_input("cluster", "the address of a server that is no Ray", "refused in a minute")
def test_server_that_is_no_ray_is_refused(recipe_file, tmp_path, other_server):
    check_refused(generate(recipe_file, tmp_path / "run", other_server), other_server)
