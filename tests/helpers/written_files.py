"""What a stage has written, to compare two runs byte by byte."""

from pathlib import Path


def files(folder: Path) -> dict[str, bytes]:
    """The files below a folder by their paths, without the run's own bookkeeping."""
    found = (p for p in folder.rglob("*") if p.is_file() and ".stage" not in p.parts)
    return {str(p.relative_to(folder)): p.read_bytes() for p in found}
