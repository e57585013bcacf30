"""What is trained on: `train.objective`, and a section for each term that has settings."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from distill.recipe.section import Section

SoftScores = Literal["teacher", "ql", "ql_sum", "rc", "rrf"]
"""Whose opinion of a candidate is learnt: a teacher embedder's similarity, or a ranker's of the
labels: ql, the query's log-likelihood a token (needs relabel.ql_per_token); ql_sum, over the whole
query, so that a list's distribution is nearly always one candidate's; rc, relevance classification;
rrf, all rankers fused."""


class Objective(Section):
    """The weights of the sum that is trained on; a term that is not named, or 0, is left out."""

    infonce: float = Field(0.0, ge=0)
    """Contrast with the batch and with hard negatives (Gecko, equation 3)."""
    align: float = Field(0.0, ge=0)
    """Nearness to the teacher's vectors (LEAF, jina-v5)."""
    kl: float = Field(0.0, ge=0)
    """The whole ranking of each query's candidates, as a distribution."""
    margin_mse: float = Field(0.0, ge=0)
    """The same as distances between the positive's score and each negative's (2010.02666)."""
    similarity_matrix: float = Field(0.0, ge=0)
    """The teacher's similarity of every two texts of a batch (Jasper)."""
    relative_order: float = Field(0.0, ge=0)
    """Which of two pairs of texts the teacher finds more similar (Jasper)."""
    cosent: float = Field(0.0, ge=0)
    """The order of pairs by their own score, across the batch (STS): of rows of task type sts or
    sentence similarity with a positive_score and an empty seed_id. (Where a query was written from
    a passage, the score is the retriever's.)"""
    gor: float = Field(0.0, ge=0)
    """Spread over the sphere (Zhang et al. 2017)."""

    @model_validator(mode="after")
    def _something(self) -> "Objective":
        if not any(self.model_dump().values()):
            raise ValueError("every weight is 0: name a term, such as {infonce: 1.0}")
        return self

    @property
    def needs_teacher_vectors(self) -> bool:
        return any((self.align, self.similarity_matrix, self.relative_order))

    @property
    def needs_scores(self) -> bool:
        """Soft scores of an example's positive and negatives."""
        return any((self.kl, self.margin_mse, self.cosent))


class InfoNCE(Section):
    """Gecko, equation 3."""

    temperature: float = Field(0.05, gt=0)
    learn_temperature: bool = False
    """From `temperature` on, trained with the student (as in CLIP)."""
    same_tower: bool = True
    """Other queries of the batch as negatives."""
    hard_negatives: Literal["own", "shared"] = "own"
    """own: a query's hard negatives are its own alone; shared: everybody's."""
    margin: float | None = None
    """A negative, hard ones too, that is more similar to the query than its positive by this margin
    is taken for a false one and left out (Qwen3 Embedding: 0.1); null: nothing is."""
    hardness: float = Field(0.0, ge=0)
    """Own hard negatives weigh exp(hardness x similarity) in the sum (EmbeddingGemma: 5)."""
    cross_device: bool = False
    """Under several processes, the texts of all of them are one batch."""


class Align(Section):
    """Nearness to the teacher's vectors (LEAF, jina-v5)."""

    distance: Literal["cosine", "l2"] = "cosine"
    """cosine: 1 - cos; l2: squared Euclidean distance, as in LEAF."""
    passages: int = Field(0, ge=0)
    """Plain texts besides the examples: so many corpus passages, drawn by seed,"""
    sentences: int = Field(0, ge=0)
    """and so many sentences drawn from them."""
    batch_size: int = Field(64, gt=0, le=1_000_000)
    """Plain texts a step; of all processes together."""


class KL(Section):
    """Kullback-Leibler divergence from the soft scores' distribution over a query's candidates to
    the student's."""

    newer: ClassVar[frozenset[str]] = frozenset({"candidates"})

    scores: SoftScores = "teacher"
    candidates: Literal["chosen", "all"] = "chosen"
    """Whose distribution: of the positive and the chosen negatives, or of all candidates that were
    judged, the seed passage among them (of scores of the labels alone). The contrast has the chosen
    ones in either case."""
    standardise: bool = False
    """Each list to mean 0 and deviation 1 first: scores of any scale and offset then compare."""
    temperature: float = Field(0.05, gt=0)
    """Of the soft scores. 0.05 suits cosines; about 0.25 mean log-probabilities per token; about 1
    standardised scores."""
    student_temperature: float = Field(0.05, gt=0)


class MarginMSE(Section):
    """Squared error of the margins between a positive and its negatives."""

    scores: SoftScores = "teacher"
    standardise: bool = False
    """Each list to mean 0 and deviation 1 first."""
    scale: float = Field(1.0, gt=0)
    """Soft scores are multiplied by it, so that their margins are cosines' margins."""
