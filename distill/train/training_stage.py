"""One of a student's training stages: it begins where the one before it ended, and ends as weights
on disk. Killed, it goes on at its newest checkpoint, and stopped by a signal behind the step that
was in flight; done, it is not trained again."""

import logging
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer

from distill.errors import UserError
from distill.files.checksums import (
    CHECKSUMS_FILE,
    find_damaged_files,
    has_checksums,
    write_checksums,
)
from distill.recipe import Recipe, Train
from distill.runtime import processes
from distill.runtime.interrupt import Interrupt
from distill.store.run import read_json, write_json
from distill.store.tables import Row
from distill.teacher.vectors import TeacherRows, is_told_tasks, teacher_vectors
from distill.train.checks_after import judge_curve
from distill.train.data.exposure import count_steps_by_source
from distill.train.data.held_out import HeldOut
from distill.train.data.mixture import Mixture, make_mixture
from distill.train.data.sources import TrainingInputs, read_mixture
from distill.train.data.tokenized import TokenizedTexts
from distill.train.loop.diagnostics import Diagnostics, embed
from distill.train.loop.fsdp import check_sharded
from distill.train.loop.model_overrides import override_dropout
from distill.train.loop.trainer import fit
from distill.train.loop.weight_averaging import find_weights_fault, load_weights, save_weights
from distill.train.objectives import CombinedLoss, alignment, make_projection
from distill.train.objectives.kl import TargetSoftness, measure_softness

_HARD = 0.95
_SAMPLE = 256
"""So many texts tell how near the student is to its teacher."""
_WEIGHTS, _ALONG, _DONE = "student.safetensors", "trained_along.safetensors", "done.json"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingStage:
    """A training stage and what it needs. `folder` is its own, `before` those of the ones before
    it, in order; `seed` is of its shuffling and dropout, the recipe's of all else."""

    name: str
    train: Train
    seed: int
    recipe: Recipe
    inputs: TrainingInputs
    passages: Sequence[Row]
    held_out: HeldOut | None
    sight: Diagnostics
    folder: Path
    before: Sequence[Path]

    def run(self, model: SentenceTransformer) -> dict[str, Any]:
        """Train the model in place. Returns what there is to tell: curve, looks, figures.

        Raises:
            KeyboardInterrupt: after SIGINT or SIGTERM, with every finished step on disk.
            UserError: if nothing is left to train on, or the loss is no number; or if it rose: then
                the weights are kept, and the next call goes on with them.
        """
        with processes.main_first():
            trained = not self._is_done()
        stop = trained and self._train(model)
        told: dict[str, Any] = read_json(self.folder / _DONE)
        self._judge(told, trained)
        if stop:
            raise KeyboardInterrupt
        load_weights(model, self.folder / _WEIGHTS)
        return told

    def _is_done(self) -> bool:
        """Whether it was trained, and its files are what was written; else it is trained anew."""
        done = self.folder / _DONE
        if not done.exists():
            return False
        damage = find_damaged_files(self.folder) if has_checksums(self.folder) else {}
        if not damage and (fault := find_weights_fault(self.folder / _WEIGHTS)):
            damage = {_WEIGHTS: fault}
        for name, what in damage.items():
            _log.warning("%s %s: the stage is trained again", self.folder / name, what)
        if damage:
            done.unlink(missing_ok=True)
            (self.folder / CHECKSUMS_FILE).unlink(missing_ok=True)
        return not damage

    def _judge(self, told: dict[str, Any], trained: bool) -> None:
        """Whether the loss fell. What is refused was trained just now: a person who starts the run
        again after that has seen it."""
        verdict = judge_curve(told["curve"], told["looks"], self.train.keep == "best")
        if verdict is None:
            return
        if verdict.refuse and trained:
            raise UserError(
                f"training, stage {self.name}",
                verdict.what,
                "lower train.learning_rate, or raise train.warmup; or run the same command again "
                f"to go on with these weights as they are (they lie in {self.folder})",
            )
        if processes.is_main():
            _log.warning("training, stage %s: %s", self.name, verdict.what)

    def _train(self, model: SentenceTransformer) -> bool:
        """Whether a signal came too late to stop before the last step."""
        recipe, train = self.recipe, self.train
        mixture = self._mixture()
        teacher = self._teacher(mixture)
        with processes.main_first():
            tokens = TokenizedTexts(self.folder / "tokens", model, mixture.written)
        objective = self._objective(model, mixture, teacher)
        before = mean_teacher_cosine(model, objective, mixture, teacher, recipe.seed)
        soft = self._soft_labels(mixture)
        run_name = f"{self.inputs.run.folder.name}-{self.folder.name}"
        with Interrupt("step") as interrupt:
            with override_dropout(model, train.dropout):
                lines = fit(
                    train,
                    self.seed,
                    objective,
                    mixture,
                    tokens,
                    self.sight,
                    self.folder,
                    interrupt,
                    run_name,
                )
            if processes.is_main():
                told = {
                    "name": self.name,
                    "examples": mixture.examples,
                    "texts": mixture.texts,
                    "steps_by_source": count_steps_by_source(mixture, train, lines.curve),
                    "soft_labels": None if soft is None else soft._asdict(),
                    "curve": lines.curve,
                    "looks": lines.looks,
                    "kept_steps": lines.kept,
                    "cosine_to_teacher_before": before,
                    "cosine_to_teacher_after": mean_teacher_cosine(
                        model, objective, mixture, teacher, recipe.seed
                    ),
                }
                self._write(model, objective, told)
            processes.wait()
            return processes.any_of_all(interrupt.asked)

    def _write(
        self, model: SentenceTransformer, objective: CombinedLoss, told: dict[str, Any]
    ) -> None:
        """What the stage ends with; its checkpoints go."""
        save_weights(model, self.folder / _WEIGHTS)
        if along := objective.trained_along.state_dict():
            save_file(along, self.folder / _ALONG)
        write_json(self.folder / _DONE, told)
        names = (_WEIGHTS, _ALONG, _DONE)
        write_checksums(self.folder, [n for n in names if (self.folder / n).exists()])
        for path in (*self.folder.glob("checkpoint-*"), self.folder / "kept"):
            shutil.rmtree(path, ignore_errors=True)

    def _soft_labels(self, mixture: Mixture) -> TargetSoftness | None:
        """How soft the distributions are that are learnt; hard ones are warned of."""
        if not self.train.objective.kl:
            return None
        soft = measure_softness([scored.scores for scored in mixture.rows], self.train.kl)
        if soft is not None and soft.top_probability > _HARD and processes.is_main():
            _log.warning(
                "training, stage %s: the soft labels are hard ones: on average %.3f of a list's "
                "distribution is its first candidate's. Raise train.kl.temperature to learn more "
                "than which one is first",
                self.name,
                soft.top_probability,
            )
        return soft

    def _mixture(self) -> Mixture:
        rows = read_mixture(self.inputs, self.train, self.recipe.seed)
        if self.held_out is not None:
            rows = [scored for scored in rows if self.held_out.allows(scored.row)]
        if not rows:
            raise UserError(
                f"training, stage {self.name}",
                "no example is left to train on",
                "lower train.validation.share, or widen the mixture",
            )
        if self.train.objective.cosent and all(isnan(scored.scores[0]) for scored in rows):
            raise UserError(
                f"training, stage {self.name}",
                "train.objective.cosent has no pair with a score of its own to learn from",
                "add a folder of pairs to train.mixture: task_type sts, a positive_score, and an "
                "empty seed_id",
            )
        student, seed = self.recipe.student, self.recipe.seed
        told = is_told_tasks(self.recipe.teacher)
        return make_mixture(student, self.train, seed, rows, self.passages, told)

    def _teacher(self, mixture: Mixture) -> TeacherRows | None:
        if not self.train.objective.needs_teacher_vectors:
            return None
        run, texts = self.inputs.run, (mixture.queries, mixture.passages, mixture.others)
        with processes.main_first():
            return teacher_vectors(run, self.recipe, *texts, tasks=mixture.tasks)

    def _objective(
        self, model: SentenceTransformer, mixture: Mixture, teacher: TeacherRows | None
    ) -> CombinedLoss:
        """What is trained along goes on from where the stages before left it."""
        width = int(model.get_embedding_dimension() or 0)
        dimensions = teacher.dimensions if teacher else width
        projection = make_projection(width, dimensions, self.recipe.seed)
        check_sharded(self.train, any(True for _ in projection.parameters()))
        scores = mixture.scores if self.train.objective.needs_scores else None
        in_batch, contrasted = mixture.in_batch(self.train.in_batch_off), mixture.contrasted
        objective = CombinedLoss(
            model,
            self.train,
            teacher.take if teacher else None,
            projection,
            scores.take if scores else None,
            in_batch.take if in_batch else None,
            contrasted.take if contrasted else None,
        )
        for folder in self.before:
            if (folder / _ALONG).exists():
                earlier = load_file(folder / _ALONG)
                objective.trained_along.load_state_dict(earlier, strict=False)
        return objective


def mean_teacher_cosine(
    model: SentenceTransformer,
    objective: CombinedLoss,
    mixture: Mixture,
    teacher: TeacherRows | None,
    seed: int,
) -> float | None:
    """Mean cosine of student and teacher over a sample of the texts (or else the positives)."""
    if teacher is None:
        return None
    texts = mixture.datasets.get("texts")
    column = "text" if texts else "positive"
    dataset = texts or next(iter(mixture.datasets.values()))
    chosen = random.Random(seed).sample(range(len(dataset)), min(_SAMPLE, len(dataset)))
    rows = dataset.select(chosen)
    vectors = embed(model, [mixture.written[number] for number in rows[column]])
    numbers = torch.tensor([label[1 if column == "text" else 2] for label in rows["label"]])
    with torch.no_grad():
        device = next(model.parameters()).device
        projected = objective.projection.to(device)(vectors.to(device))
    distance = alignment(projected, teacher.take(numbers).to(device))
    return round(1 - float(distance), 4)
