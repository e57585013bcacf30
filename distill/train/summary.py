"""Summarize a training beside the student: its curves for training.json, and its figures for the
manifest."""

from typing import Any


def join_curves(summaries: list[dict[str, Any]]) -> dict[str, Any]:
    """Join the curves of all training stages; steps are counted on from one to the next."""
    curve, validations, stages, before = [], [], [], 0
    for stage in summaries:
        curve += [line | {"step": line["step"] + before} for line in stage["curve"]]
        # A later stage's validation before its first step repeats the last one before it.
        validations += [
            line | {"step": line["step"] + before}
            for line in stage["looks"]
            if line["step"] or not before
        ]
        steps = stage["curve"][-1]["step"]
        before += steps
        stages.append(
            {key: value for key, value in stage.items() if key not in ("curve", "looks")}
            | {"steps": steps, "last_step": before}
        )
    return {"curve": curve, "looks": validations, "stages": stages}


def summarize_training(summaries: list[dict[str, Any]], after: dict[str, float]) -> dict[str, Any]:
    """Sum up all training stages for the manifest; `after` are the finished student's
    diagnostics."""
    first, last = summaries[0]["curve"], summaries[-1]["curve"]
    aligned = [stage for stage in summaries if stage["cosine_to_teacher_before"] is not None]
    before = summaries[0]["looks"][0]
    return {
        "examples": sum(stage["examples"] for stage in summaries),
        "texts": sum(stage["texts"] for stage in summaries),
        "steps": sum(stage["curve"][-1]["step"] for stage in summaries),
        "loss_first": first[0]["loss"],
        "loss_last": last[-1]["loss"],
        "cosine_to_teacher_before": aligned[0]["cosine_to_teacher_before"] if aligned else None,
        "cosine_to_teacher_after": aligned[-1]["cosine_to_teacher_after"] if aligned else None,
        "before": {name: before[name] for name in after if name in before},
        "after": after,
    }
