"""The objectives of training: `train.objective`, and a section for each term that has settings."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BeforeValidator, Field, model_validator

from distill.recipe.sections.relabel import Ranker
from distill.recipe.sections.section import Section

MixedScoreName = Literal[
    "teacher",
    "ql",
    "rc",
    "graded",
    "listwise",
    "cross_encoder",
    "retriever",
    "bm25",
    "rrf",
    "seed",
]
"""Soft scores that a mixture may add up, each on one scale."""
SoftScoreName = Literal[MixedScoreName, "ql_sum", "hybrid"]
"""Whose opinion of a candidate is learnt: a teacher embedder's similarity, or a ranker's of the
labels: ql, the query's log-likelihood a token (needs relabel.ql_per_token); ql_sum, over the whole
query, so that a list's distribution is nearly always one candidate's; rc, relevance classification;
graded, the expected grade; listwise, minus the rank; cross_encoder, its logit; retriever, its
similarity; bm25, words in common; rrf, all rankers fused; hybrid, bm25 and the retriever's
similarity; seed, the passage that the query was written from, and no other."""
SCORED_TERMS = ("kl", "margin_mse", "corpus_softmax", "multi_positive")
"""Terms of the objective that learn soft scores of a query's candidates."""
_NAMES = get_args(SoftScoreName)
_MIXED = get_args(MixedScoreName)


def _check_soft_scores(value: Any) -> Any:
    """Refuse what is neither a name nor a mixture, in words instead of pydantic's for a union."""
    if isinstance(value, str) and value in _NAMES:
        return value
    if not isinstance(value, Mapping) or not value:
        raise ValueError(
            f"{str(value)[:40]!r} is no soft score: name one of {', '.join(_NAMES)}, or a mapping "
            "of several to weights, such as {cross_encoder: 0.7, retriever: 0.3}"
        )
    for name, weight in value.items():
        if name not in _MIXED:
            raise ValueError(
                f"{str(name)[:40]!r} cannot be a part of a mixture: name some of "
                f"{', '.join(_MIXED)}"
            )
        number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not (number and 0 < weight < math.inf):
            raise ValueError(
                f"the weight of {name} is {str(weight)[:40]}: give a number above 0, or leave the "
                "name out"
            )
    return dict(value)


SoftScoreChoice = Annotated[
    SoftScoreName | dict[MixedScoreName, float], BeforeValidator(_check_soft_scores)
]
"""A name, or a mixture: names with their weights."""

_RANKERS: Mapping[str, Ranker] = {
    "ql": "ql",
    "ql_sum": "ql",
    "rc": "rc",
    "graded": "graded",
    "listwise": "listwise",
    "cross_encoder": "cross_encoder",
    "bm25": "bm25",
    "hybrid": "bm25",
}


def list_score_names(choice: SoftScoreChoice) -> list[SoftScoreName]:
    """List the soft scores that a choice names: one, or the parts of a mixture."""
    return [choice] if isinstance(choice, str) else [*choice]


def list_needed_rankers(choice: SoftScoreChoice) -> list[Ranker]:
    """List the rankers that must have judged the labels for these soft scores, each once."""
    names = list_score_names(choice)
    return list(dict.fromkeys(_RANKERS[name] for name in names if name in _RANKERS))


class Objective(Section):
    """The weights of the sum that is trained on; a term that is not named, or 0, is left out."""

    newer: ClassVar[frozenset[str]] = frozenset({"corpus_softmax", "multi_positive"})

    infonce: float = Field(0.0, ge=0)
    """Weight of the contrastive loss against in-batch and hard negatives (Gecko, arXiv 2403.20327,
    equation 3)."""
    multi_positive: float = Field(0.0, ge=0)
    """Weight of the contrast of all candidates that a judge found relevant with those that it did
    not, and with the batch (arXiv 2602.12727)."""
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
    def _check_not_empty(self) -> "Objective":
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
        return any((self.kl, self.margin_mse, self.cosent, self.multi_positive))


class InfoNCE(Section):
    """Gecko, equation 3."""

    temperature: float = Field(0.05, gt=0)
    """Temperature by which cosine similarities are divided; the initial one with
    `learn_temperature`. 0.05 is the default of sentence-transformers' contrastive loss (scale 20);
    E5-Mistral (arXiv 2401.00368) has 0.02. Other values were not measured here."""
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


class MultiPositive(Section):
    """One matrix of relations: which documents of a batch answer a query, which do not, and of
    which nobody knows."""

    scores: SoftScoreChoice = "rc"
    """Judgements that say which candidates are relevant, of the labels: rc (log-odds of yes against
    no), graded (0 to 3), cross_encoder (its logit), or any other that train.kl.scores takes. All
    judged candidates of a query count, the passages beyond its positive and its chosen negatives
    too."""
    relevant: float = 0.0
    """Score from which a candidate is a positive, beside the example's own, on the scale of
    `scores`; of rc 0 is as likely yes as no."""
    irrelevant: float | None = None
    """Score below which a candidate is a negative; from here up to `relevant` it is left out, and
    so is one without a score, and the seed passage. null: as `relevant`."""
    loss: Literal["pairwise", "contrast"] = "pairwise"
    """What is learnt. pairwise: every positive above every negative, by the log-sum-exp over the
    pairs (LSEPair, arXiv 2602.12727: the least harmed by wrong judgements); contrast: InfoNCE of
    each positive by itself, in which the other positives are no negatives."""
    temperature: float = Field(0.05, gt=0)
    """Temperature by which cosine similarities are divided. 0.05, as train.infonce.temperature."""
    max_candidates: int | None = Field(None, ge=2)
    """Largest number of candidates of a query, the positive and the chosen negatives among them; of
    a longer list those are taken that cover the range of the scores evenly. null: the whole
    list."""

    @model_validator(mode="after")
    def _check_thresholds(self) -> "MultiPositive":
        if self.irrelevant is not None and self.irrelevant > self.relevant:
            raise ValueError(
                f"irrelevant ({self.irrelevant:g}) is above relevant ({self.relevant:g}): a "
                "candidate between them would be both"
            )
        return self

    @property
    def least_unknown(self) -> float:
        """The score below which a candidate is a negative."""
        return self.relevant if self.irrelevant is None else self.irrelevant


class Align(Section):
    """Nearness to the teacher's vectors (LEAF, jina-v5)."""

    newer: ClassVar[frozenset[str]] = frozenset({"sentences_as"})

    distance: Literal["cosine", "l2"] = "cosine"
    """Distance between student and teacher vectors. cosine: 1 - cos; l2: squared Euclidean
    distance, as in LEAF (arXiv 2509.12539)."""
    passages: int = Field(0, ge=0)
    """Number of corpus passages, drawn by seed, that are aligned in addition to the examples."""
    sentences: int = Field(0, ge=0)
    """Number of sentences of the corpus, drawn by seed, that are aligned in addition to the
    examples."""
    sentences_as: Literal["document", "query"] = "document"
    """Side from which teacher and student read these sentences. query: with their query prompts
    and, where the teacher is a query encoder that was adapted to the corpus, with that, so that the
    student learns what it learnt (demo: 97 % of MiniLM for 94 %; RESULTS.md)."""
    batch_size: int = Field(64, gt=0, le=1_000_000)
    """Plain texts per training step, summed over all processes. 64 is a convention that was not
    measured."""


class KL(Section):
    """Kullback-Leibler divergence from the soft scores' distribution over a query's candidates to
    the student's."""

    newer: ClassVar[frozenset[str]] = frozenset({"candidates", "max_candidates"})

    scores: SoftScoreChoice = "teacher"
    """Soft scores to learn from: teacher (the teacher's similarity), a ranker's of the labels (ql:
    log-likelihood per token, needs relabel.ql_per_token; ql_sum: of the whole query; rc; graded;
    listwise; cross_encoder; retriever: its similarity; bm25), rrf (all rankers fused), hybrid (the
    retriever's similarity and bm25, each scaled to mean 0 and deviation 1 over a query's candidates
    and added by train.bm25_share), seed (all mass on the passage that the query was written from),
    or a mixture, such as {cross_encoder: 0.7, retriever: 0.3}: each part scaled to mean 0 and
    deviation 1 over the candidates that all parts have scored, times its weight, and added."""
    candidates: Literal["chosen", "all"] = "chosen"
    """Candidates whose distribution is learnt. chosen: the positive and the chosen negatives; all:
    every judged candidate, the seed passage among them (for scores of the labels alone). The
    contrastive loss uses the chosen ones in either case."""
    max_candidates: int | None = Field(None, ge=2)
    """Largest number of candidates of a query for `candidates: all`. Of a longer list the positive,
    the chosen negatives and the seed passage stay, and of the others those that cover the range of
    the soft scores evenly (arXiv 2604.04734: better than the first ones, and than a random draw).
    null: the whole list."""
    standardise: bool = False
    """Scale each list of soft scores to mean 0 and deviation 1 first, so that scores of any scale
    and offset compare. Of the scores seed nothing is scaled."""
    temperature: float = Field(0.05, gt=0)
    """Temperature of the soft scores. 0.05 suits cosines; about 0.25 mean log-probabilities per
    token; 0.5 to 1 hybrid, mixtures and standardised scores. training.json and the report have the
    entropy and the top probability that come of it."""
    student_temperature: float = Field(0.05, gt=0)
    """Temperature of the student's cosine similarities. 0.05, as train.infonce.temperature."""


class MarginMSE(Section):
    """Squared error of the margins between a positive and its negatives."""

    scores: SoftScoreChoice = "teacher"
    """Soft scores to learn from: teacher (the teacher's similarity), a ranker's of the labels (ql:
    log-likelihood per token, needs relabel.ql_per_token; ql_sum: of the whole query; rc; graded;
    listwise; cross_encoder; retriever: its similarity; bm25), rrf (all rankers fused), hybrid (the
    retriever's similarity and bm25, each scaled to mean 0 and deviation 1 over a query's candidates
    and added by train.bm25_share), seed (1 for the passage that the query was written from, 0 for
    others), or a mixture, such as {cross_encoder: 0.7, retriever: 0.3}: each part scaled to mean 0
    and deviation 1 over the candidates that all parts have scored, times its weight, and added."""
    standardise: bool = False
    """Scale each list of soft scores to mean 0 and deviation 1 first."""
    scale: float = Field(1.0, gt=0)
    """Factor by which soft scores are multiplied, so that their margins have the size of cosine
    margins."""


class CorpusSoftmax(Section):
    """Cross-entropy of a query's soft scores with the softmax over all of the corpus' documents."""

    scores: SoftScoreChoice = "hybrid"
    """Soft scores to learn from, by name or as a mixture: all that train.kl.scores takes. hybrid:
    the retriever's similarity and bm25, each scaled to mean 0 and deviation 1 over a query's
    candidates and added by train.bm25_share; {cross_encoder: 0.7, retriever: 0.3}: likewise, by
    these weights; teacher: the teacher's similarity of the chosen candidates. Nothing but the
    candidates has mass."""
    temperature: float = Field(0.333, gt=0)
    """Temperature of the soft scores. 0.333 with train.bm25_share 0.333 is the softmax of twice the
    scaled similarity plus the scaled BM25 score; 0.05 suits cosines. On docstrings of other
    packages 0.1 is level with it (-0.001, -0.003 to +0.002), and 1 does harm (-0.032, -0.049 to
    -0.015; RESULTS.md, The transformer alone)."""
    student_temperature: float = Field(0.05, gt=0)
    """Temperature of the cosine similarities of a query with the documents. 0.05, as
    train.infonce.temperature."""
    documents: int = Field(1_000_000, gt=0)
    """Largest number of documents over all of which the softmax runs; on a larger corpus it runs
    over the candidates of the batch and a uniform sample of the other documents, each of which
    counts for as many as it stands for (Bengio and Senecal 2008)."""
    sample: int = Field(100_000, gt=0)
    """Number of documents drawn for each step on a corpus larger than `documents`, none twice."""
