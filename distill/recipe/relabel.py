"""The section `relabel`: who judges the candidates, and what is chosen of them."""

from typing import Literal, get_args

from pydantic import Field, model_validator

from distill.recipe.section import Section, Word

Judge = Literal["ql", "rc", "graded", "listwise", "cross_encoder"]
Ranker = Literal["ql", "rc", "graded", "listwise", "cross_encoder", "retriever"]
JUDGES: tuple[Judge, ...] = get_args(Judge)
"""All rankers that judge, in the order of the tables' columns; the retriever has ranked already."""


class Cascade(Section):
    """A cheap first judgement of all candidates, and the others of its survivors alone."""

    by: list[Ranker] = []
    """The rankers that judge first, fused; empty: no cascade, every ranker judges everything."""
    keep: int = Field(8, ge=2)
    """So many candidates of each query survive; the seed passage always does."""


class Relabel(Section):
    prompt_ql: str = "prompts/ql.jinja"
    prompt_rc: str = "prompts/rc.jinja"
    prompt_graded: str = "prompts/graded.jinja"
    prompt_listwise: str = "prompts/listwise.jinja"
    prompt_grade: str = "prompts/grade.jinja"
    """In the place of prompt_rc and prompt_graded where a server gives no log-probabilities: a
    grade in words."""
    max_passage_words: int = Field(300, gt=0)
    """So much of a passage the LLM judges by, at most. More than it need read to write a query: the
    answer may stand further down."""
    fused: bool = False
    """ql and rc in one pass: both are read off prompt_rc, which ends in query and verdict."""
    top_k: int = Field(20, ge=2, le=100_000)
    """Candidates retrieved for each query (Gecko: 20)."""
    rankers: list[Ranker] = Field(["ql", "rc"], min_length=1)
    """What the reciprocal rank fusion fuses; the first named breaks ties. ql: likelihood of the
    query; rc: odds of yes against no; graded: expected grade of four; listwise: the LLM sorts, for
    engines without log-probabilities; cross_encoder: the model below; retriever: its own rank."""
    weights: dict[Ranker, float] = {}
    """Of a ranker's reciprocal rank, where it is not 1."""
    rrf_k: float = Field(0, ge=0)
    """The constant of reciprocal rank fusion; Gecko uses none."""
    ql_per_token: bool = False
    """Divide a query's log-likelihood by its tokens. Ranks within a query stay the same; thresholds
    and scores of different queries become comparable."""
    listwise_window: int = Field(10, ge=2, le=1000)
    """Passages that one listwise prompt sorts; the window slides from the last to the first by half
    of its size (Sun et al. 2023)."""
    cross_encoder: Word | None = None
    """A sentence-transformers CrossEncoder."""
    cross_encoder_tokens: int = Field(512, gt=0)
    cascade: Cascade = Cascade()
    rounds: int = Field(1, ge=1, le=100)
    """In each round but the last a student is trained on the examples, and retrieves for the next
    (Gecko: retrieval by the embedder itself)."""
    first_round: Literal["relabelled", "seed"] = "relabelled"
    """What the first of several rounds trains on: relabelled: examples as in the last round; seed:
    each query with the passage that it was written from and no hard negative, which needs no judge
    (Gecko's initial embedder, section 3.2)."""

    positive: Literal["first", "margin", "seed"] = "first"
    """first: the first by fusion (Gecko); margin: the first, unless it leads the seed by less than
    `positive_margin`; seed: the passage that the query was written for."""
    positive_margin: float = Field(0.5, ge=0)
    """In the fusion's units: of two rankers without a constant the best possible value is 2."""
    min_relevance: float | None = None
    """A query is dropped if no candidate's relevance reaches this: rc's log-odds, or the grade
    where `graded` is among the rankers and rc is not."""
    more_positives: float | None = None
    """Candidates whose relevance reaches this become positives of examples of their own (RLHN)."""
    negatives: Literal["lowest", "hardest", "sampled", "range"] = "lowest"
    """Which of the candidates that may be negatives: lowest: the last (Gecko's p_N); hardest: the
    first (with max_negative_share 0.95 the TopK-PercPos of NV-Retriever and NV-Embed); sampled:
    drawn from all of them; range: drawn from the ranks in `negative_range`."""
    negatives_by: Literal["fusion", "retriever"] = "fusion"
    """In which order: of the fused ranks, or of the retriever's similarity."""
    negative_count: int = Field(1, ge=0)
    negative_range: tuple[int, int] = (11, 20)
    """First and last rank, counted from 1 among the candidates that may be negatives: the positive,
    the seed passage and what is too similar have been left out before."""
    max_negative_share: float | None = Field(None, gt=0)
    """Similarity of a negative at most so many times the positive's: 0.95 in NV-Retriever. Where
    the positive's similarity is negative, its size times the rest is subtracted."""
    negative_margin: float | None = Field(None, ge=0)
    """Similarity of a negative at least so far below the positive's."""
    confirmed_exempt: bool = False
    """A negative that the LLM confirms (rc below 0, or grade below 1) need not obey these two."""
    near_duplicates: float | None = Field(0.8, gt=0, le=1)
    """Passages that share so much of their word triples (Jaccard) with the seed or the positive are
    the same passage, and no negatives; null: only the passages themselves."""
    shard_size: int = Field(256, gt=0)
    """Queries (candidates, labels, examples) or judged pairs a shard."""
    block: int = Field(4096, gt=0)
    """Queries whose candidates are brought together by passage: more share more, and take more
    memory."""

    @model_validator(mode="after")
    def _fits(self) -> "Relabel":
        first, last = self.negative_range
        if not 1 <= first <= last:
            raise ValueError("negative_range must be [first, last] with 1 <= first <= last")
        if len(set(self.rankers)) != len(self.rankers):
            raise ValueError("relabel.rankers names one twice")
        if stray := set(self.weights) - set(self.rankers):
            raise ValueError(f"relabel.weights: {sorted(stray)[0]} is not among relabel.rankers")
        if any(weight < 0 for weight in self.weights.values()):
            raise ValueError("relabel.weights must not be negative")
        if all(self.weights.get(ranker, 1.0) == 0 for ranker in self.rankers):
            raise ValueError("relabel.weights: every ranker weighs 0, so nothing would be ranked")
        if stray := set(self.cascade.by) - set(self.rankers):
            raise ValueError(f"relabel.cascade.by: {sorted(stray)[0]} is not among relabel.rankers")
        if "cross_encoder" in self.rankers and self.cross_encoder is None:
            raise ValueError("relabel.rankers has cross_encoder: set relabel.cross_encoder")
        if self.fused and not {"ql", "rc"} <= set(self.rankers):
            raise ValueError("relabel.fused judges ql and rc in one pass: name both as rankers")
        relevance = self.min_relevance is not None or self.more_positives is not None
        if (relevance or self.confirmed_exempt) and not {"rc", "graded"} & set(self.rankers):
            raise ValueError(
                "relabel.min_relevance, more_positives and confirmed_exempt need the ranker rc or "
                "graded"
            )
        return self

    def of_seeds(self) -> "Relabel":
        """The settings of a round that judges nothing."""
        kept = {key: getattr(self, key) for key in ("top_k", "shard_size", "block")}
        return Relabel(rankers=["retriever"], positive="seed", negative_count=0, **kept)

    @property
    def judges(self) -> list[Judge]:
        """The rankers that have something to judge."""
        return [judge for judge in JUDGES if judge in self.rankers]

    @property
    def first_judges(self) -> list[Judge]:
        """Those that judge all candidates."""
        return [j for j in self.judges if not self.cascade.by or j in self.cascade.by]
