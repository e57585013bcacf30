"""What is trained on: `train.objective`, and a section for each term that has settings."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from distill.recipe.sections.relabel import Ranker
from distill.recipe.sections.section import Section

SoftScoreName = Literal["teacher", "ql", "ql_sum", "rc", "rrf", "bm25", "hybrid"]
"""Whose opinion of a candidate is learnt: a teacher embedder's similarity, or a ranker's of the
labels: ql, the query's log-likelihood a token (needs relabel.ql_per_token); ql_sum, over the whole
query, so that a list's distribution is nearly always one candidate's; rc, relevance classification;
rrf, all rankers fused; bm25, words in common; hybrid, those and the retriever's similarity."""

RANKER_OF: Mapping[str, Ranker] = {
    "ql": "ql",
    "ql_sum": "ql",
    "rc": "rc",
    "bm25": "bm25",
    "hybrid": "bm25",
}
"""The ranker that soft scores of the labels need."""


class Objective(Section):
    """The weights of the sum that is trained on; a term that is not named, or 0, is left out."""

    newer: ClassVar[frozenset[str]] = frozenset({"corpus_softmax"})

    infonce: float = Field(0.0, ge=0)
    """Weight of the contrastive loss against in-batch and hard negatives (Gecko, arXiv 2403.20327,
    equation 3)."""
    align: float = Field(0.0, ge=0)
    """Weight of the distance between the student's and the teacher's vectors (LEAF, arXiv
    2509.12539; jina-v5, arXiv 2602.15547)."""
    kl: float = Field(0.0, ge=0)
    """Weight of the divergence between the soft scores' and the student's distribution over a
    query's candidates."""
    margin_mse: float = Field(0.0, ge=0)
    """Weight of the squared error of the score margins between the positive and each negative
    (arXiv 2010.02666)."""
    similarity_matrix: float = Field(0.0, ge=0)
    """Weight of the error in reproducing the teacher's similarity of every two texts of a batch
    (Jasper, arXiv 2412.19048)."""
    relative_order: float = Field(0.0, ge=0)
    """Weight of the ranking loss on which of two pairs of texts the teacher finds more similar
    (Jasper, arXiv 2412.19048)."""
    cosent: float = Field(0.0, ge=0)
    """Weight of the CoSENT loss, which orders scored pairs across the batch. It uses rows of task
    type sts or sentence similarity with a positive_score and an empty seed_id: rows with a seed_id
    were written from a passage, and their score is only the retriever's."""
    corpus_softmax: float = Field(0.0, ge=0)
    """Weight of the cross-entropy between the soft scores' distribution over a query's candidates
    and the softmax of the query's similarity with every document of the corpus, whose vectors are
    the teacher's and stay as they are. It trains a query encoder (student.route query), and no
    other term beside it."""
    gor: float = Field(0.0, ge=0)
    """Weight of global orthogonal regularisation, which spreads vectors over the sphere (Zhang et
    al. 2017, arXiv 1708.06320)."""

    @model_validator(mode="after")
    def _something(self) -> "Objective":
        if not any(self.model_dump().values()):
            raise ValueError("every weight is 0: name a term, such as {infonce: 1.0}")
        return self

    @property
    def needs_teacher_vectors(self) -> bool:
        """Whether a term of the loss reads the teacher's vectors."""
        return any((self.align, self.similarity_matrix, self.relative_order))

    @property
    def trains_queries_alone(self) -> bool:
        """Whether no document is encoded in training."""
        return bool(self.corpus_softmax)

    @property
    def needs_scores(self) -> bool:
        """Soft scores of an example's positive and negatives."""
        return any((self.kl, self.margin_mse, self.cosent))


class InfoNCE(Section):
    """Gecko, equation 3."""

    temperature: float = Field(0.05, gt=0)
    """Temperature by which cosine similarities are divided; the initial one with
    `learn_temperature`."""
    learn_temperature: bool = False
    """Train the temperature together with the student (as in CLIP, arXiv 2103.00020), from
    `temperature` on."""
    same_tower: bool = True
    """Use the other queries of the batch as negatives too (Gecko, arXiv 2403.20327)."""
    hard_negatives: Literal["own", "shared"] = "own"
    """Whose hard negatives a query is compared with. own: its own alone; shared: those of the whole
    batch."""
    margin: float | None = None
    """Leave out a negative, hard ones too, whose similarity to the query exceeds the positive's by
    this margin, as a likely false negative (Qwen3 Embedding, arXiv 2506.05176: 0.1); null: none is
    left out."""
    hardness: float = Field(0.0, ge=0)
    """Strength of weighting a query's own hard negatives by exp(hardness x similarity)
    (EmbeddingGemma, arXiv 2509.20354: 5); 0: no weighting."""
    cross_device: bool = False
    """Use the texts of all processes as one batch, where training runs in several."""


class Align(Section):
    """Nearness to the teacher's vectors (LEAF, jina-v5)."""

    distance: Literal["cosine", "l2"] = "cosine"
    """Distance between student and teacher vectors. cosine: 1 - cos; l2: squared Euclidean
    distance, as in LEAF (arXiv 2509.12539)."""
    passages: int = Field(0, ge=0)
    """Number of corpus passages, drawn by seed, that are aligned in addition to the examples."""
    sentences: int = Field(0, ge=0)
    """Number of sentences of the corpus, drawn by seed, that are aligned in addition to the
    examples."""
    batch_size: int = Field(64, gt=0, le=1_000_000)
    """Plain texts per training step, summed over all processes."""


class KL(Section):
    """Kullback-Leibler divergence from the soft scores' distribution over a query's candidates to
    the student's."""

    newer: ClassVar[frozenset[str]] = frozenset({"candidates"})

    scores: SoftScoreName = "teacher"
    """Soft scores to learn from: teacher (the teacher's similarity), ql (log-likelihood per token,
    needs relabel.ql_per_token), ql_sum (log-likelihood of the whole query), rc (relevance
    classification), rrf (all rankers fused), bm25 (words in common) or hybrid (the retriever's
    similarity and bm25, each scaled to mean 0 and deviation 1 over a query's candidates and added
    by train.bm25_share)."""
    candidates: Literal["chosen", "all"] = "chosen"
    """Candidates whose distribution is learnt. chosen: the positive and the chosen negatives; all:
    every judged candidate, the seed passage among them (for scores of the labels alone). The
    contrastive loss uses the chosen ones in either case."""
    standardise: bool = False
    """Scale each list of soft scores to mean 0 and deviation 1 first, so that scores of any scale
    and offset compare."""
    temperature: float = Field(0.05, gt=0)
    """Temperature of the soft scores. 0.05 suits cosines; about 0.25 mean log-probabilities per
    token; 0.5 to 1 hybrid and standardised scores."""
    student_temperature: float = Field(0.05, gt=0)
    """Temperature of the student's cosine similarities."""


class MarginMSE(Section):
    """Squared error of the margins between a positive and its negatives."""

    scores: SoftScoreName = "teacher"
    """Soft scores to learn from: teacher (the teacher's similarity), ql (log-likelihood per token,
    needs relabel.ql_per_token), ql_sum (log-likelihood of the whole query), rc (relevance
    classification), rrf (all rankers fused), bm25 (words in common) or hybrid (the retriever's
    similarity and bm25, each scaled to mean 0 and deviation 1 over a query's candidates and added
    by train.bm25_share)."""
    standardise: bool = False
    """Scale each list of soft scores to mean 0 and deviation 1 first."""
    scale: float = Field(1.0, gt=0)
    """Factor by which soft scores are multiplied, so that their margins have the size of cosine
    margins."""


class CorpusSoftmax(Section):
    """Cross-entropy of a query's soft scores with the softmax over all of the corpus' documents."""

    scores: SoftScoreName = "hybrid"
    """Soft scores to learn from: hybrid (the retriever's similarity and bm25, each scaled to mean 0
    and deviation 1 over a query's candidates and added by train.bm25_share), bm25 (words in
    common), ql (log-likelihood per token, needs relabel.ql_per_token), ql_sum (log-likelihood of
    the whole query), rc (relevance classification), rrf (all rankers fused) or teacher (the
    teacher's similarity of the chosen candidates). Nothing but the candidates has mass."""
    temperature: float = Field(0.333, gt=0)
    """Temperature of the soft scores. 0.333 with train.bm25_share 0.333 is the softmax of twice the
    scaled similarity plus the scaled BM25 score; 0.05 suits cosines."""
    student_temperature: float = Field(0.05, gt=0)
    """Temperature of the cosine similarities of a query with the documents."""
    documents: int = Field(1_000_000, gt=0)
    """Largest number of documents over all of which the softmax runs; on a larger corpus it runs
    over the candidates of the batch and a uniform sample of the other documents, each of which
    counts for as many as it stands for (Bengio and Senecal 2008)."""
    sample: int = Field(100_000, gt=0)
    """Number of documents drawn for each step on a corpus larger than `documents`, none twice."""
