"""The log of a run: `RUN/log.jsonl`, one JSON object a line, for people and for log collectors.

Every line has `time` (UTC, ISO 8601), `level`, `logger` and `message`; an event adds fields of its
own, such as `stage`, `done`, `total` and `seconds`. The file is appended to by each command and is
readable by its owner alone. Values of environment variables that hold secrets never reach it.
"""

import json
import logging
import os
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from distill import __version__
from distill.errors import EngineFailure, UserError

_logger = logging.getLogger("distill.store.run")
_SECRET_NAMES = ("KEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL")
_SHORTEST_SECRET = 8
"""Characters. A shorter value is likely to be an ordinary word, and would be cut out of texts."""
_MASK = "[secret]"
LOG_NAME = "log.jsonl"


def log_event(message: str, level: int = logging.INFO, **fields: Any) -> None:
    """Write an event to the run's log; the terminal does not show it."""
    _logger.log(level, message, extra={"fields": fields, "file_only": True})


class JsonLines(logging.Formatter):
    """Formats one JSON object a line. JSON escapes control characters, so no text can forge a
    line."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record as a line of JSON: time (UTC), level, logger, message and fields."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = "".join(traceback.format_exception(*record.exc_info))
        return mask_secrets(json.dumps(line, ensure_ascii=False, default=str))


class _RunLogHandler(logging.FileHandler):
    """Appends to the run's log. A log that cannot be written (a full disk) is closed with one
    warning: the work goes on, and its own files report the fault where it matters."""

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.close(descriptor)
        super().__init__(path, encoding="utf-8", errors="backslashreplace")
        self.setFormatter(JsonLines())

    def handleError(self, record: logging.LogRecord) -> None:
        logging.getLogger().removeHandler(self)
        logging.getLogger("distill").warning(
            "%s cannot be written (%s): this command goes on without a log",
            self.baseFilename,
            sys.exc_info()[1],
        )


def show_in_terminal(record: logging.LogRecord) -> bool:
    """Return whether a record is shown in the terminal too: a filter for its handler."""
    return not getattr(record, "file_only", False)


@contextmanager
def log_to(folder: Path) -> Iterator[None]:
    """Log the command, its end, warnings and errors into the run's folder.

    Raises:
        UserError: if the log cannot be opened.
    """
    path = folder / LOG_NAME
    try:
        handler = _RunLogHandler(path)
    except OSError as fault:
        raise UserError(
            str(path), f"cannot be written ({fault.strerror})", "make the run's folder writable"
        ) from fault
    root, ours = logging.getLogger(), logging.getLogger("distill")
    level = ours.level
    ours.setLevel(logging.DEBUG)
    root.addHandler(handler)
    showing = warnings.showwarning
    warnings.showwarning = _log_warnings_too(showing)
    start = time.monotonic()
    log_event("command begun", command=sys.argv[1:], version=__version__, pid=os.getpid())
    try:
        yield
    except BaseException as fault:
        _log_end(fault, time.monotonic() - start)
        raise
    else:
        log_event("command ended", seconds=round(time.monotonic() - start, 3))
    finally:
        warnings.showwarning = showing
        root.removeHandler(handler)
        ours.setLevel(level)
        handler.close()


def mask_secrets(text: str) -> str:
    """Return `text` without the values of environment variables whose names suggest secrets."""
    for name, value in os.environ.items():
        named = any(word in name.upper() for word in _SECRET_NAMES)
        if named and len(value) >= _SHORTEST_SECRET:
            text = text.replace(value, _MASK)
            text = text.replace(json.dumps(value, ensure_ascii=False)[1:-1], _MASK)
    return text


def _log_end(fault: BaseException, seconds: float) -> None:
    fields: dict[str, Any] = {"seconds": round(seconds, 3), "error": type(fault).__name__}
    if isinstance(fault, UserError | EngineFailure):
        fields |= {"where": fault.where, "what": fault.what, "remedy": fault.remedy}
    elif not isinstance(fault, KeyboardInterrupt):
        fields["traceback"] = "".join(traceback.format_exception(fault))
    stopped = isinstance(fault, KeyboardInterrupt)
    log_event("command stopped" if stopped else "command failed", logging.ERROR, **fields)


def _log_warnings_too(showing: Any) -> Any:
    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: Any = None,
        line: str | None = None,
    ) -> None:
        log_event(
            str(message), logging.WARNING, category=category.__name__, place=f"{filename}:{lineno}"
        )
        showing(message, category, filename, lineno, file, line)

    return show
