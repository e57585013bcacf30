"""One training stage of a student: it starts from the weights of the stage before, and ends as
weights on disk. After a kill it resumes at its newest checkpoint; after a signal, behind the step
in flight; a stage that is complete is not trained again."""

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
from torch import Tensor

from distill.embed.encoder import Vectors
from distill.errors import UserError
from distill.files.atomic import open_atomic_file, read_json, write_json
from distill.files.checksums import (
    CHECKSUMS_FILE,
    find_damaged_files,
    has_checksums,
    write_checksums,
)
from distill.recipe import Train
from distill.runtime import processes
from distill.runtime.devices import free_gpu_memory
from distill.runtime.interrupt import Interrupt
from distill.store.passages import PassageReader
from distill.teacher.vectors import TeacherRows, embed_with_teacher, uses_tasks
from distill.train.checks import describe_unrelated_spaces
from distill.train.checks_after import check_loss_curve
from distill.train.checks_of_lists import check_lists
from distill.train.data.candidate_pools import (
    CandidatePools,
    QueryExamples,
    make_query_examples,
)
from distill.train.data.exposure import count_steps_by_source
from distill.train.data.held_out import HeldOut
from distill.train.data.mixture import Mixture, make_mixture
from distill.train.data.softness import SoftnessCheck, TargetSoftness, check_softness
from distill.train.data.sources import TrainingInputs, read_mixture
from distill.train.data.tokenized import TokenizedTexts
from distill.train.loop.diagnostics import Diagnostics, embed
from distill.train.loop.fsdp import check_sharded
from distill.train.loop.model_overrides import override_dropout
from distill.train.loop.trainer import fit
from distill.train.loop.weight_averaging import find_weights_fault, load_weights, save_weights
from distill.train.objectives import CombinedLoss, compute_alignment, make_projection
from distill.train.objectives.corpus_softmax import CorpusSoftmaxLoss
from distill.train.objectives.kl import make_kl_target
from distill.train.objectives.multi_positive import RelationCounts, count_relations
from distill.train.rows.examples import ScoredExample, SelectedExamples
from distill.train.settings import TrainingSettings

_SAMPLE = 256
"""Texts from which the mean cosine to the teacher is estimated."""
_WEIGHTS, _DONE = "student.safetensors", "done.json"
_AUXILIARY = "trained_along.safetensors"
"""The file of the objectives' own parameters, by the name that it has in earlier stages."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingStage:
    """A training stage and what it needs. `folder` is its own, `earlier` those of the stages before
    it, in order; `train` and `seed`, of its shuffling and dropout, are its own, `settings` those of
    the whole training.
    `documents` are the vectors of the corpus that a query encoder searches."""

    name: str
    train: Train
    seed: int
    settings: TrainingSettings
    inputs: TrainingInputs
    passages: PassageReader | None
    held_out: HeldOut | None
    diagnostics: Diagnostics
    folder: Path
    earlier: Sequence[Path]
    documents: Vectors | None = None

    def run(self, model: SentenceTransformer) -> dict[str, Any]:
        """Train the model in place; the summary of the stage: curve, validations and figures.

        Raises:
            KeyboardInterrupt: after SIGINT or SIGTERM, with every finished step on disk.
            UserError: if nothing is left to train on, the loss becomes NaN, or the loss rose: then
                the weights are saved, and the next call continues with them.
        """
        with processes.let_main_go_first():
            trained = not self._is_done()
        stop = trained and self._train(model)
        summary: dict[str, Any] = read_json(self.folder / _DONE)
        self._check_curve(summary, trained)
        if stop:
            raise KeyboardInterrupt
        load_weights(model, self.folder / _WEIGHTS)
        return summary

    def _is_done(self) -> bool:
        """Return whether the stage was trained and its files are intact; if not, it is trained
        again."""
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

    def _check_curve(self, summary: dict[str, Any], trained: bool) -> None:
        """Warn of a loss that rose, or refuse it where it was trained just now: a person who starts
        the run again has read the refusal. Weights from before training come of no loss."""
        if summary["kept_steps"] == [0]:
            return
        verdict = check_loss_curve(summary["curve"], summary["looks"], self.train.keep == "best")
        if verdict is None:
            return
        if verdict.refuse and trained:
            raise UserError(
                f"training, stage {self.name}",
                verdict.what,
                "lower train.learning_rate, or raise train.warmup; or run the same command again "
                f"to continue with these weights as they are (in {self.folder})",
            )
        if processes.is_main():
            _log.warning("training, stage %s: %s", self.name, verdict.what)

    def _train(self, model: SentenceTransformer) -> bool:
        """Train and write the stage; whether a signal came during its last step."""
        train = self.train
        rows = self._read_rows()
        queries = self._make_query_examples(rows) if train.objective.trains_queries_alone else None
        mixture = self._make_mixture(rows) if queries is None else queries.mixture
        check_lists(self.name, train, mixture.columns)
        teacher = self._open_teacher(mixture)
        self.inputs.run.workers.dismiss_all()  # who embedded its texts, perhaps on this GPU
        free_gpu_memory()  # of the teacher, where it was opened here
        with processes.let_main_go_first():
            tokens = TokenizedTexts(self.folder / "tokens", model, mixture.student_texts)
        corpus_softmax = (
            None if queries is None else self._make_corpus_softmax(model, queries.pools)
        )
        objective = self._make_objective(model, mixture, teacher, corpus_softmax)
        before = measure_teacher_cosine(model, objective, mixture, teacher, self.settings.seed)
        has_projection = any(True for _ in objective.projection.parameters())
        unrelated = describe_unrelated_spaces(before, has_projection)
        if unrelated is not None and train.objective.align and processes.is_main():
            _log.warning("training, stage %s: %s", self.name, unrelated)
        soft = self._measure_softness(mixture, queries)
        relations = self._count_relations(mixture)
        run_name = f"{self.inputs.run.folder.name}-{self.folder.name}"
        with Interrupt("step") as interrupt:
            with override_dropout(model, train.dropout):
                lines = fit(
                    train,
                    self.seed,
                    objective,
                    mixture,
                    tokens,
                    self.diagnostics,
                    self.folder,
                    interrupt,
                    run_name,
                )
            if lines.averaged_steps == [0] and processes.is_main():
                _log.warning(
                    "training, stage %s: no validation was better than the one before training, "
                    "whose weights are kept",
                    self.name,
                )
            if processes.is_main():
                summary = {
                    "name": self.name,
                    "examples": mixture.examples,
                    "texts": mixture.texts,
                    "steps_by_source": count_steps_by_source(mixture, train, lines.curve),
                    "soft_labels": None if soft is None else soft._asdict(),
                    "relations": None if relations is None else relations._asdict(),
                    "curve": lines.curve,
                    "looks": lines.validations,
                    "kept_steps": lines.averaged_steps,
                    "cosine_to_teacher_before": before,
                    "cosine_to_teacher_after": measure_teacher_cosine(
                        model, objective, mixture, teacher, self.settings.seed
                    ),
                }
                self._write(model, objective, summary)
            processes.wait()
            return processes.is_true_anywhere(interrupt.is_requested)

    def _write(
        self, model: SentenceTransformer, objective: CombinedLoss, summary: dict[str, Any]
    ) -> None:
        """Write the stage's weights and summary, and delete its checkpoints."""
        save_weights(model, self.folder / _WEIGHTS)
        if weights := objective.auxiliary.state_dict():
            with open_atomic_file(self.folder / _AUXILIARY) as beside:
                save_file(weights, beside)
        write_json(self.folder / _DONE, summary)
        names = (_WEIGHTS, _AUXILIARY, _DONE)
        write_checksums(self.folder, [n for n in names if (self.folder / n).exists()])
        for path in (*self.folder.glob("checkpoint-*"), self.folder / "kept"):
            shutil.rmtree(path, ignore_errors=True)

    def _measure_softness(
        self, mixture: Mixture, queries: QueryExamples | None
    ) -> TargetSoftness | None:
        """Measure how soft the learnt distributions are; log it, and warn where nothing is soft or
        nothing is learnt. Of `seed` they are hard by their nature."""
        if queries is not None:
            softness, fault = queries.soft
            scores = self.train.corpus_softmax.scores
        elif self.train.objective.kl:
            softness, fault = self._check_kl_softness(mixture)
            scores = self.train.kl.scores
        else:
            return None
        if softness is None or not processes.is_main():
            return softness
        _log.info(
            "training, stage %s: soft labels of %d lists: the first candidate's probability is "
            "%.3f (median %.3f), the entropy %.3f nats (median %.3f), that of %.1f equal "
            "candidates of %.1f",
            self.name,
            softness.lists,
            softness.top_probability,
            softness.top_probability_median,
            softness.entropy,
            softness.entropy_median,
            softness.effective_candidates,
            softness.candidates,
        )
        if fault is not None and scores != "seed":
            _log.warning("training, stage %s: %s", self.name, fault)
        return softness

    def _count_relations(self, mixture: Mixture) -> RelationCounts | None:
        """Count how many candidates of a query answer it; log it, and warn where no query has more
        positives than its own."""
        if not self.train.objective.multi_positive:
            return None
        counts = count_relations(mixture.scores.list_scores(), self.train.multi_positive)
        if counts is None or not processes.is_main():
            return counts
        _log.info(
            "training, stage %s: of the candidates of a query %.2f are positives, %.2f negatives, "
            "and of %.2f nobody knows (means of %d lists)",
            self.name,
            counts.positives,
            counts.negatives,
            counts.unknown,
            counts.lists,
        )
        if counts.positives == 1:
            _log.warning(
                "training, stage %s: no query has another positive than its own: "
                "train.multi_positive.relevant (now %g) is above all scores",
                self.name,
                self.train.multi_positive.relevant,
            )
        return counts

    def _check_kl_softness(self, mixture: Mixture) -> SoftnessCheck:
        settings = self.train.kl

        def make_targets(lists: Tensor, temperature: float) -> Tensor:
            return make_kl_target(lists, settings.model_copy(update={"temperature": temperature}))

        return check_softness(
            mixture.scores.list_scores(), make_targets, settings.temperature, "train.kl"
        )

    def _make_query_examples(self, rows: Sequence[ScoredExample]) -> QueryExamples:
        if self.passages is None:
            raise ValueError("no corpus: a recipe that searches one is refused without it")
        settings = self.train.corpus_softmax
        return make_query_examples(self.settings.student, settings, rows, self.passages)

    def _make_corpus_softmax(
        self, model: SentenceTransformer, pools: CandidatePools
    ) -> CorpusSoftmaxLoss:
        """Build the loss over the teacher's vectors of the corpus."""
        if self.documents is None:
            raise ValueError("no document vectors: `train_student` reads them for a query encoder")
        width, wanted = model.get_embedding_dimension(), self.documents.shape[1]
        if width != wanted:
            raise UserError(
                "student.route query",
                f"the student has {width} dimensions, and the teacher's vectors {wanted}",
                f"set student.dimensions: {wanted}",
            )
        return CorpusSoftmaxLoss(self.documents, pools.take, self.train.corpus_softmax)

    def _read_rows(self) -> SelectedExamples:
        allows = (lambda row: True) if self.held_out is None else self.held_out.is_allowed
        rows = read_mixture(self.inputs, self.train, self.settings.seed, allows)
        if not rows:
            raise UserError(
                f"training, stage {self.name}",
                "no example is left to train on",
                "lower train.validation.share, or widen the mixture",
            )
        if self.train.objective.cosent and all(isnan(scored.scores[0]) for scored in rows):
            raise UserError(
                f"training, stage {self.name}",
                "train.objective.cosent has no scored pair to learn from",
                "add a folder of pairs to train.mixture: task_type sts, a positive_score, and an "
                "empty seed_id",
            )
        return rows

    def _make_mixture(self, rows: Sequence[ScoredExample]) -> Mixture:
        student, seed = self.settings.student, self.settings.seed
        # A teacher that is not learnt from has no say in which queries are the same.
        needs_teacher = self.train.objective.needs_teacher_vectors
        reads_tasks = needs_teacher and uses_tasks(self.settings.teacher)
        return make_mixture(student, self.train, seed, rows, self.passages, reads_tasks)

    def _open_teacher(self, mixture: Mixture) -> TeacherRows | None:
        if not self.train.objective.needs_teacher_vectors:
            return None
        with processes.let_main_go_first():
            return embed_with_teacher(
                self.inputs.run,
                self.settings.teacher,
                mixture.queries,
                mixture.others,
                tasks=mixture.tasks,
                corpus=self.passages,
            )

    def _make_objective(
        self,
        model: SentenceTransformer,
        mixture: Mixture,
        teacher: TeacherRows | None,
        corpus_softmax: CorpusSoftmaxLoss | None,
    ) -> CombinedLoss:
        """Build the loss; its auxiliary parameters continue from the stages before."""
        width = int(model.get_embedding_dimension() or 0)
        dimensions = teacher.dimensions if teacher else width
        projection = make_projection(width, dimensions, self.settings.seed)
        check_sharded(self.train, any(True for _ in projection.parameters()))
        scores = mixture.scores if self.train.objective.needs_scores else None
        in_batch = mixture.mark_in_batch(self.train.no_in_batch_negatives)
        contrasted = None if corpus_softmax else mixture.contrasted
        objective = CombinedLoss(
            model,
            self.train,
            teacher.take if teacher else None,
            projection,
            scores.take if scores else None,
            in_batch.take if in_batch else None,
            contrasted.take if contrasted else None,
            corpus_softmax,
        )
        for folder in self.earlier:
            if (folder / _AUXILIARY).exists():
                weights = load_file(folder / _AUXILIARY)
                objective.auxiliary.load_state_dict(weights, strict=False)
        return objective


def measure_teacher_cosine(
    model: SentenceTransformer,
    objective: CombinedLoss,
    mixture: Mixture,
    teacher: TeacherRows | None,
    seed: int,
) -> float | None:
    """Measure the mean cosine of student and teacher over a sample of the texts (else of the
    positives)."""
    if teacher is None:
        return None
    texts = mixture.datasets.get("texts")
    column = "text" if texts else "positive"
    dataset = texts or next(iter(mixture.datasets.values()))
    sample = random.Random(seed).sample(range(len(dataset)), min(_SAMPLE, len(dataset)))
    rows = dataset.select(sample)
    vectors = embed(model, mixture.student_texts.read(rows[column]))
    numbers = torch.tensor([label[1 if column == "text" else 2] for label in rows["label"]])
    with torch.no_grad():
        device = next(model.parameters()).device
        projected = objective.projection.to(device)(vectors.to(device))
    distance = compute_alignment(projected, teacher.take(numbers).to(device))
    return round(1 - float(distance), 4)
