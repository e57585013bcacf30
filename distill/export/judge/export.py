"""A run's judge as a folder that sentence-transformers loads as a reranker."""

import shutil
from pathlib import Path

from distill.errors import UserError
from distill.evaluate.judge_summary import describe_judge
from distill.export.export import check_out, write_beside
from distill.files.atomic import commit_bytes
from distill.files.read import read_text
from distill.retrieve.cross_encoder import CrossEncoderJudge
from distill.retrieve.self_test import draw_known_pairs
from distill.store.passages import PassageReader
from distill.store.stage import check_model_folder, open_stage

_OWN_FILES = ("training.json",)
_TOLERANCE = 1e-4


def export_judge(run: Path, out: Path, max_tokens: int) -> Path:
    """Write the judge of a run to the folder `out`, with a card that says what it is worth. The
    copy must score passages of the run as the judge does.

    Raises:
        UserError: if the run has no judge, it is damaged, or `out` holds something.
    """
    check_out(out)
    folder = run / "judge"
    if not (folder / ".stage").is_dir() or not open_stage(folder).complete:
        raise UserError(
            str(run), "has no judge", "train one: distill train-judge RECIPE --run FOLDER"
        )
    check_model_folder(folder)
    with write_beside(out) as part:
        for path in sorted(folder.iterdir()):
            if path.name.startswith(".") or path.name in _OWN_FILES:
                continue
            copy = shutil.copytree if path.is_dir() else shutil.copyfile
            copy(path, part / path.name)
        _check_copy(run, folder, part, max_tokens)
        card = read_text(folder / "README.md", "train the judge again")
        lines = "\n".join(f"- {line}" for line in describe_judge(run))
        commit_bytes(part / "README.md", f"{card}\n## Evaluation\n\n{lines}\n".encode())
    return out


def _check_copy(run: Path, folder: Path, part: Path, max_tokens: int) -> None:
    pairs = draw_known_pairs(PassageReader(run / "passages"))
    requests = [(pair.own, [pair.query]) for pair in pairs]
    before, after = (
        [of[0][0] for of in CrossEncoderJudge(str(one), max_tokens, "cpu").judge(requests)]
        for one in (folder, part)
    )
    if any(abs(a - b) > _TOLERANCE for a, b in zip(before, after, strict=True)):
        raise UserError(
            str(part), "does not score as the judge does", "update sentence-transformers"
        )
