"""The tests of this folder on a simulated device, in a process of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

GPU_TESTS = Path(__file__).parent


@pytest.mark.parametrize(
    "which", ["not slow", pytest.param("slow", marks=pytest.mark.slow)], ids=["fast", "slow"]
)
def test_device_beside_the_cpu_computes_what_the_cpu_does(which):
    own = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    own |= {"DISTILL_SIMULATED_DEVICE": "1"}
    command = [sys.executable, "-m", "pytest", str(GPU_TESTS), "-q", "-m", f"not gpu and {which}"]
    ignored = ["-p", "no:cacheprovider", f"--ignore={__file__}"]
    done = subprocess.run([*command, *ignored], env=own, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
    assert "failed" not in done.stdout
