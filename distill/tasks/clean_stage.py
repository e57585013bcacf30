"""A stage that was decontaminated against other evaluation tasks than the recipe names now.

It stays as it is where the present tasks would leave the same rows in it, so that a task can be
added or removed without anything being judged or trained again.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from distill.errors import UserError
from distill.files.atomic import write_json
from distill.store.run import Run
from distill.store.stage import Stage
from distill.tasks.decontaminate import REASONS, RULE, Decontaminator, EvaluationSet

SETTINGS = ("decontaminate", "decontaminate_words", "decontaminate_rule")
"""Keys of a stage's settings that say what it is decontaminated against."""
_CHECKED = "decontaminated"
"""Key of a manifest: those settings as they were when the stage was last checked."""


def find_clean_stage(
    run: Run,
    name: str,
    settings: Mapping[str, Any],
    inputs: Sequence[Stage],
    find_change: Callable[[Stage], str | None],
    describe: Callable[[], dict[str, Any]],
) -> Stage | None:
    """Find the complete stage of this name, perhaps made for other evaluation tasks, that would be
    the same for the present ones. Its manifest then says that it was checked against these.

    Args:
        settings: the stage's settings for the present tasks.
        find_change: says what would change in the stage, in a few words; None for nothing.
        describe: computes the stage's figure `decontamination` again; empty for no task.

    Raises:
        UserError: if it would change, and the run may not overwrite it.
    """
    stage = run.find_complete_but_for(name, settings, inputs, SETTINGS)
    if stage is None:
        return None
    manifest = stage.manifest
    checked = _select(settings)
    if manifest.get(_CHECKED, _select(manifest["settings"])) == checked:
        return stage
    change = find_change(stage)
    if change is not None:
        if run.overwrite == "never":
            raise _explain_change(stage, change)
        return None
    figures = {k: v for k, v in manifest.get("figures", {}).items() if k != "decontamination"}
    manifest |= {_CHECKED: checked, "figures": figures | describe()}
    write_json(stage.metadata_dir / "manifest.json", manifest)
    return stage


def _select(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Select what a stage is decontaminated against; nothing for no task."""
    return {key: settings[key] for key in SETTINGS if settings.get(key)}


def find_change_of_rows(
    stage: Stage,
    sets: Sequence[EvaluationSet],
    known: Decontaminator | None,
    length: int,
    hits: Callable[[Decontaminator], int],
) -> str | None:
    """Say what the present tasks would change in a stage, by its rows; None for nothing.

    Args:
        sets: the present tasks, which `known` knows; None where there are none.
        length: words of a run that counts as an overlap.
        hits: counts the stage's rows that hold words of an evaluation query.
    """
    back = _count_left_out_for_others(stage, sets, length)
    if back:
        return f"{back} rows were left out for a task or a rule that is not there any more"
    count = 0 if known is None else hits(known)
    return f"{count} of its rows hold words of an evaluation query" if count else None


def _count_left_out_for_others(stage: Stage, sets: Sequence[EvaluationSet], length: int) -> int:
    """Count what is left out for other tasks: 0 where all tasks that the stage was made for are
    among the present ones: tasks that it was only checked against later changed nothing in it."""
    before = stage.manifest["settings"]
    tasks = before.get("decontaminate") or {}
    present = {known.name: known.revision for known in sets}
    same_rule = [before.get(key) for key in SETTINGS[1:]] == [length, RULE]
    if not tasks or (same_rule and tasks.items() <= present.items()):
        return 0
    counts = stage.sum_counts()
    return sum(counts[f"dropped: {reason}"] for reason in REASONS)


def _explain_change(stage: Stage, change: str) -> UserError:
    return UserError(
        str(stage.folder),
        f"was made for other evaluation tasks than evaluate.tasks names now; {change}",
        "measure the student as it is: `distill compare RUN/student TEACHER --tasks NAME`; or "
        "--overwrite stale makes it again and trains again (what the LLM wrote and judged is used "
        "again); or generate.filters.decontaminate: false",
    )
