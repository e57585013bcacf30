"""The facts of the first page: when, how, where and with what the run was made."""

import json
import shlex
from pathlib import Path
from typing import Any

from distill.report.run_data import RunData
from distill.runtime.machine import format_machine
from distill.runtime.run_log import LOG_NAME

_LIBRARIES = ("distill", "python", "torch", "sentence-transformers", "mteb")


def make_overview(run_data: RunData) -> list[tuple[str, str]]:
    """List label and value of what a reader asks first: date, command, machine, device, seed,
    versions; of what is known."""
    begun = _read_command(run_data.folder)
    facts = [
        ("made", begun["time"][:16].replace("T", " ") + " UTC" if begun else ""),
        ("command", _format_command(begun["command"]) if begun else ""),
        ("machine", _find_machine(run_data)),
        ("device", _describe_device(run_data)),
        ("seed", str(run_data.recipe.get("seed", ""))),
        ("versions", _list_versions(run_data)),
    ]
    return [(label, value) for label, value in facts if value]


def _read_command(folder: Path) -> dict[str, Any] | None:
    """Read from the run's log the last command that worked on a stage, or else the last command;
    a line that is damaged is passed over."""
    path = folder / LOG_NAME
    if not path.is_file():
        return None
    begun, worked = None, None
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            event = _parse_event(line)
            if event.get("message") == "command begun":
                begun = event
            elif event.get("message") == "progress" and event.get("done"):
                worked = begun
    return worked or begun


def _parse_event(line: str) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(event, dict):
        return {}
    shaped = isinstance(event.get("time"), str) and isinstance(event.get("command", []), list)
    return event if shaped else {}


def _format_command(words: list[Any]) -> str:
    """Return the command as it was typed, checksums of models left out."""
    return shlex.join(["distill", *(str(word).partition("#sha256=")[0] for word in words)])


def _find_machine(run_data: RunData) -> str:
    """Find the machine of the evaluation, whose speeds it explains, or of the last stage."""
    known = [m["machine"] for m in run_data.complete.values() if "machine" in m]
    evaluation = run_data.complete.get("evaluation", {}).get("machine")
    machine = evaluation or (known[-1] if known else None)
    return format_machine(machine) if machine else ""


def _describe_device(run_data: RunData) -> str:
    named = (run_data.recipe.get("train") or {}).get("device")
    if named:
        return str(named)
    machines = [m["machine"] for m in run_data.complete.values() if "machine" in m]
    if not machines:
        return ""
    return "cuda" if any(machine["gpus"] for machine in machines) else "cpu"


def _list_versions(run_data: RunData) -> str:
    versions: dict[str, str] = {}
    for manifest in run_data.complete.values():
        versions |= manifest.get("versions", {})
    return ", ".join(f"{name} {versions[name]}" for name in _LIBRARIES if name in versions)
