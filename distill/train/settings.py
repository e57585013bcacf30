"""The sections of the recipe that a student's training needs; they travel together."""

from typing import NamedTuple

from distill.recipe import Cascade, Recipe, Student, Teacher, Train
from distill.recipe.sections.objective import list_needed_rankers


class TrainingSettings(NamedTuple):
    """The settings of a student's training: its schedule and objective, the student itself, the
    teacher whose vectors it may learn or search, whether the queries of a query encoder may have
    several positives (`relabel.more_positives`), whether whole lists are learnt of which a cascade
    has judged a part, and the recipe's seed, which draws everything but a training stage's
    shuffling and dropout."""

    train: Train
    student: Student
    teacher: Teacher
    has_more_positives: bool
    learns_cascaded_lists: bool
    seed: int
    saves_documents: bool = True
    """Whether a query encoder is saved with the teacher beside it, as the route of documents."""

    @classmethod
    def select(cls, recipe: Recipe) -> "TrainingSettings":
        """Select them of a recipe."""
        student = recipe.student
        several = student.route == "query" and recipe.relabel.more_positives is not None
        cascaded = any(
            _has_cascaded_lists(stage, recipe.relabel.cascade)
            for stage in recipe.train.list_stages().values()
        )
        return cls(recipe.train, student, recipe.teacher, several, cascaded, recipe.seed)


def _has_cascaded_lists(train: Train, cascade: Cascade) -> bool:
    kl = train.kl
    if not train.objective.kl or kl.candidates != "all" or kl.max_candidates is not None:
        return False
    judges_all = {*cascade.by, "retriever"}
    return bool(cascade.by) and not judges_all.issuperset(list_needed_rankers(kl.scores))
