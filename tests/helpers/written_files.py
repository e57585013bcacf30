"""What a stage has written, to compare two runs byte by byte."""

from pathlib import Path


def read_files(folder: Path) -> dict[str, bytes]:
    """The files below a folder by their paths, without the run's own bookkeeping."""
    found = (p for p in folder.rglob("*") if p.is_file() and ".stage" not in p.parts)
    return {str(p.relative_to(folder)): p.read_bytes() for p in found}


def read_tables(folder: Path) -> dict[str, bytes]:
    """All tables and vectors of a run, by their names in its folder."""
    paths = [*folder.glob("*/*.parquet"), *folder.glob("*/.stage/*.parquet")]
    # Vectors are found again by notes of their own, which who looked for them leaves; and there are
    # notes of who computed them.
    paths += [
        path
        for path in folder.glob("vectors/*/*")
        if path.parent.name != "addresses" and path.name != "execution.json"
    ]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}
