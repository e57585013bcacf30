"""Compressed files that the system refuses."""

import gzip
import lzma
import os

import pytest

from distill.corpus.readers.packed import open_unpacked
from distill.errors import UserError

_NOBODY = 65534
_PACKERS = {"gz": gzip.compress, "xz": lzma.compress}


@pytest.mark.bad_input("compressed file", "no permission to read it", "refused by that name")
@pytest.mark.parametrize("ending", _PACKERS)
def test_packed_file_without_permission_is_refused_by_that_name(tmp_path, ending):
    file = tmp_path / f"docs.jsonl.{ending}"
    file.write_bytes(_PACKERS[ending](b'{"text": "They dance."}\n'))
    file.chmod(0)
    assert "may not be read or written by this user" in _read_as_nobody(file)


def _read(file):
    with open_unpacked(file) as source:
        return source.read()


def _read_as_nobody(file):
    """The error of reading as a user who is not root, whom nothing is forbidden."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.getuid() == 0:
                os.chdir(file.parent)
                file.parent.chmod(0o755)
                os.setgid(_NOBODY)
                os.setuid(_NOBODY)
            _read(type(file)(file.name) if os.getuid() == _NOBODY else file)
        except UserError as fault:
            os.write(writing, str(fault).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        text = answer.read().decode()
    os.waitpid(child, 0)
    return text
