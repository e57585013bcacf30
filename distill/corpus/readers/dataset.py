"""A Hugging Face dataset by name, or a local folder that `datasets.load_dataset` reads."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
from datasets.exceptions import DatasetNotFoundError
from huggingface_hub import constants

from distill.corpus.readers.rows import (
    Columns,
    CorpusSource,
    Document,
    LocatedRow,
    RowLocation,
    SkippedRow,
    check_documents,
)
from distill.corpus.readers.tables import find_usual_columns
from distill.errors import UserError
from distill.models.reference import identify_revision
from distill.remote.connect import check_environment


def open_dataset(name: str, config: str | None, split: str, columns: Columns) -> CorpusSource:
    """Open a split of a dataset. Columns that are not named and not there are found by their usual
    names.

    Raises:
        UserError: if the dataset, configuration, split or text column does not exist, or the hub
            cannot be reached.
    """
    where = f"dataset {name!r}" + (f", configuration {config!r}" if config else "")
    rows = _load(where, name, config, split)
    where += f", split {split!r}"
    columns = find_usual_columns(where, rows.column_names, columns)
    local = Path(name).is_dir()
    identity: dict[str, Any] = {
        "dataset": Path(name).name if local else name,
        "config": config,
        "split": split,
        "content": identify_revision(name) if local else rows._fingerprint,
        "columns": list(columns),
    }
    return CorpusSource(where, identity, lambda: _read(rows, where, Path(name).name, columns))


def _load(where: str, name: str, config: str | None, split: str) -> datasets.Dataset:
    try:
        return datasets.load_dataset(name, config, split=split)
    except DatasetNotFoundError:
        raise UserError(
            where, "no such dataset on the hub, or a private one", "check the spelling"
        ) from None
    except ConnectionError:
        raise UserError(
            where,
            "the hub cannot be reached and the dataset is not in its cache",
            "connect to the hub once, or set corpus.path to a local copy",
        ) from None
    except Exception as fault:  # damaged files, scripts, proxies: libraries raise anything
        if not Path(name).exists():
            check_environment(constants.ENDPOINT)
        lines = str(fault).strip().splitlines() or [""]
        said = lines[0][:300] if "://" not in str(fault) else ""
        raise UserError(
            where,
            f"cannot be loaded: {said or type(fault).__name__}",
            "check corpus.config and corpus.split",
        ) from fault


def _read(
    rows: datasets.Dataset, where: str, source: str, columns: Columns
) -> Iterator[Document | SkippedRow]:
    chosen = rows.select_columns([c for c in columns if c in rows.column_names])
    placed: Iterator[LocatedRow] = (
        (RowLocation(where, number), source, row) for number, row in enumerate(chosen, 1)
    )
    return check_documents(placed, columns)
