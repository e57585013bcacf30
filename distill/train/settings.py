"""The sections of the recipe that a student's training needs; they travel together."""

from typing import NamedTuple

from distill.recipe import Recipe, Student, Teacher, Train


class TrainingSettings(NamedTuple):
    """The settings of a student's training: its schedule and objective, the student itself, the
    teacher whose vectors it may learn or search, whether the queries of a query encoder may have
    several positives (`relabel.more_positives`), and the recipe's seed, which draws everything but
    a training stage's shuffling and dropout."""

    train: Train
    student: Student
    teacher: Teacher
    has_more_positives: bool
    seed: int
    saves_documents: bool = True
    """Whether a query encoder is saved with the teacher beside it, as the route of documents."""

    @classmethod
    def select(cls, recipe: Recipe) -> "TrainingSettings":
        """Select them of a recipe."""
        student = recipe.student
        several = student.route == "query" and recipe.relabel.more_positives is not None
        return cls(recipe.train, student, recipe.teacher, several, recipe.seed)
