"""Scripts in processes that know nothing of distill, without the ten seconds in which each would
import sentence-transformers: forked from one that has imported it, and nothing of distill."""

import atexit
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

_SERVER = """
import json, os, sys
import sentence_transformers
for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if child == 0:
        os.chdir(job["folder"])
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(job[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        try:
            exec(compile(job["script"], "script", "exec"), {"__name__": "__main__"})
        except BaseException:
            import traceback
            traceback.print_exc()
            code = 1
        else:
            code = 0
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


def run_plainly(script: str, folder: Path) -> str:
    """Run a script in a folder, in a process of its own. Returns what it prints."""
    server = _start()
    assert server.stdin is not None
    assert server.stdout is not None
    out, err = (folder / f".{name}-of-script" for name in ("out", "err"))
    job = {"script": script, "folder": str(folder), "out": str(out), "err": str(err)}
    server.stdin.write(json.dumps(job) + "\n")
    server.stdin.flush()
    assert server.stdout.readline() == "0\n", err.read_text()
    text = out.read_text()
    for file in (out, err):
        file.unlink()
    return text


@cache
def _start() -> "subprocess.Popen[str]":
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )
    atexit.register(server.kill)
    return server
