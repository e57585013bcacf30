"""The training of a first recipe whose teacher is behind a server: its vectors are of a space of
their own, and its ranking is what a student of another family can learn (benchmarks/RESULTS.md, "A
multilingual teacher behind a real server")."""

from collections.abc import Iterator

from distill.start.choice.setting import Setting


def list_ranking_alone() -> Iterator[Setting]:
    """List the settings by which a student learns rankings, and no vectors."""
    yield Setting("train.learning_rate", 3.0e-5, "low: the student's own space is kept")
    why = "higher: of tokens that the student's model has seldom seen"
    yield Setting("train.embedding_learning_rate", 1.0e-3, why)
    why = "rankings alone: aligning with the vectors of another family of models did harm"
    yield Setting("train.objective", {"infonce": 1.0}, why)
