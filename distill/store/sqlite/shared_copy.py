"""A copy of a table's rows for workers on other machines: SQLite's file is for processes of one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distill.store.sqlite.table import SqliteTable
from distill.workers.protocol import Workers
from distill.workers.shares import SharesPause


@contextmanager
def share_rows(
    table: SqliteTable | None, copy: Path, workers: Workers, condition: str = "1"
) -> Iterator[Path | None]:
    """Share some rows with workers while a stage is made. The copy is gone afterwards, unless
    shares go on; then it is gone when the stage is made, by whichever process.

    Args:
        table: None where there is none, or where this process may not open it.
        copy: the file that is written, in the stage's folder.
        condition: of the rows, in SQL.

    Yields:
        The copy, for a `FrozenTable`; None where there is none, or where nobody needs it.
    """
    if workers.reads_only:
        yield copy if copy.exists() else None
        return
    copy.unlink(missing_ok=True)  # of a process that was killed, or that left it for shares
    if workers.local or table is None:
        yield None
        return
    try:
        yield copy if table.copy_rows(copy, condition) else None
    except SharesPause:
        raise  # the shares read it
    except BaseException:
        copy.unlink(missing_ok=True)
        raise
    copy.unlink(missing_ok=True)
