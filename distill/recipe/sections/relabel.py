"""The sections `relabel` and `judge`: who judges the candidates, what is chosen of them, and the
small judge that learns from their judgements."""

from typing import Annotated, Literal, get_args

from pydantic import Field, field_validator, model_validator

from distill.recipe.sections.llm import LanguageModel
from distill.recipe.sections.section import Device, Section, Word

Judge = Literal["ql", "rc", "graded", "listwise", "cross_encoder", "bm25"]
Ranker = Literal["ql", "rc", "graded", "listwise", "cross_encoder", "bm25", "retriever"]
JUDGES: tuple[Judge, ...] = get_args(Judge)
"""All rankers that judge, in the order of the tables' columns; the retriever has ranked already."""
OWN_JUDGE = "judge"
"""Value of `relabel.cross_encoder` that stands for the judge of the section `judge`."""


class Cascade(Section):
    """A cheap first judgement of all candidates, and the others of its survivors alone."""

    by: list[Ranker] = []
    """Rankers that judge all candidates first, their ranks fused; the other rankers judge the
    survivors alone. Empty: no cascade, every ranker judges everything."""
    keep: int = Field(8, ge=2)
    """Number of candidates per query that survive the first judgement; the seed passage always
    survives. 8 is a convention: of QL's and the retriever's 0.485 nDCG@10 on cacm it leaves 0.464,
    and 12 of 20 leave 0.483 (RESULTS.md, Reranking)."""


class RankerCheck(Section):
    """A check of how well rankers find a passage by its own title, or by a sentence taken out of
    it."""

    queries: int = Field(200, ge=30)
    """Largest number of queries of the check: titles, and sentences that are taken out of their
    passage, drawn by seed."""
    passages: int = Field(2000, ge=30)
    """Largest number of passages that these queries search, drawn by seed, one of each
    document."""
    top_k: int = Field(10, ge=2, le=1000)
    """Number of candidates that the rankers order for each of these queries."""


class Relabel(Section):
    """The section `relabel`: the rankers that judge candidates, and the choice of positive and
    negatives."""

    llm: LanguageModel | None = None
    """The language model of the rankers ql, rc, graded and listwise, with the keys of the section
    `llm`; null: the one that writes the queries. A model finds the passage too likely that it wrote
    the query from; another one does not know its habits."""
    prompt_ql: str = "prompts/ql.jinja"
    """Prompt of the ranker ql (query likelihood), a Jinja file relative to the recipe."""
    prompt_rc: str = "prompts/rc.jinja"
    """Prompt of the ranker rc (relevance classification), a Jinja file relative to the recipe."""
    prompt_graded: str = "prompts/graded.jinja"
    """Prompt of the ranker graded (four grades of relevance), a Jinja file relative to the
    recipe."""
    prompt_listwise: str = "prompts/listwise.jinja"
    """Prompt of the ranker listwise (sorting several passages), a Jinja file relative to the
    recipe."""
    prompt_grade: str = "prompts/grade.jinja"
    """Prompt that asks for a grade in words, a Jinja file relative to the recipe. It replaces
    prompt_rc and prompt_graded where a server gives no log-probabilities."""
    max_passage_words: int = Field(300, gt=0)
    """Longest passage inside a judging prompt, in words. It is longer than for generation, since
    the answer may stand further down. On cacm QL's nDCG@10 is 0.488 with 300 words and 0.477 with
    120, which is within noise (RESULTS.md, Reranking)."""
    fused: bool = False
    """Compute the rankers ql and rc in one pass: both are read off prompt_rc, which ends in query
    and verdict."""
    top_k: int = Field(20, ge=2, le=100_000)
    """Number of candidates retrieved for each query (Gecko, arXiv 2403.20327: 20)."""
    rankers: list[Ranker] = Field(["ql", "rc"], min_length=1)
    """Rankers whose ranks are fused; the first named breaks ties. ql: likelihood of the query; rc:
    odds of yes against no; graded: expected grade of four; listwise: the language model sorts, for
    engines without log-probabilities; cross_encoder: the model in `cross_encoder`; bm25: words in
    common, by the settings of `retriever.bm25`; retriever: its own rank. The default is the pair of
    Gecko (arXiv 2403.20327, appendix A). With a judge of 135M parameters [ql, retriever] is the
    better pair on cacm and vaswani (RESULTS.md, Reranking)."""
    weights: dict[Ranker, float] | Literal["auto"] = {}
    """Weight of each ranker's reciprocal rank in the fusion; 1 for a ranker that is not named.
    auto: by how often each ranker puts the known passage first, for queries that no language model
    wrote; one that is worse than the retriever is left out (see `check`). Gecko weighs its two
    alike."""
    check: RankerCheck = RankerCheck()
    """Settings of the check of rankers that `weights: auto` makes."""
    rrf_k: float = Field(0, ge=0)
    """Constant k of the reciprocal rank fusion of the rankers; Gecko (arXiv 2403.20327) uses none,
    that is 0."""
    ql_per_token: bool = False
    """Divide a query's log-likelihood by its number of tokens. Ranks within a query stay the same;
    thresholds and scores of different queries become comparable. Off, as in Gecko's formula."""
    seed_margin: Literal["auto"] | None = None
    """What is taken off the seed passage's scores by ql, rc and graded, before they are ranked and
    before soft labels are made of them. The same kind of model wrote the query from that passage,
    and finds it too likely. auto: the ranker's mean margin of the seed over the best other
    candidate of its query, of ql by token; null: nothing."""
    listwise_window: int = Field(10, ge=2, le=1000)
    """Number of passages that one listwise prompt sorts; the window slides from the last to the
    first by half of its size (Sun et al. 2023, arXiv 2304.09542). The paper has windows of 20,
    moved by 10."""
    cross_encoder: Word | None = None
    """The sentence-transformers CrossEncoder of the ranker cross_encoder: a hub id or a folder, or
    judge: the one that this recipe trains (section judge); null: none."""
    cross_encoder_tokens: int = Field(512, gt=0)
    """Longest pair of query and passage that the cross-encoder reads, in tokens. 512 is the longest
    input of BERT-like encoders."""
    cascade: Cascade = Cascade()
    """Settings of cascaded judging: a cheap ranker judges all candidates, the others its
    survivors."""
    rounds: int = Field(1, ge=1, le=100)
    """Number of rounds of retrieval and relabelling. In each round but the last a student is
    trained on the examples and retrieves for the next round (Gecko, arXiv 2403.20327: retrieval by
    the embedder itself). A query encoder (student.route query) searches the teacher's document
    vectors in each round, and goes on from the weights of the round before."""
    similarity_by: Literal["student", "teacher"] = "student"
    """Whose similarity of a query and a candidate a later round of a query encoder (student.route
    query) learns from in the soft scores hybrid. student: the similarity by the encoder of the
    round before; teacher: the teacher's. Candidates are found by that encoder in either case."""
    first_round: Literal["relabelled", "seed"] = "relabelled"
    """What the first of several rounds trains on. relabelled: examples as in the last round; seed:
    each query with the passage that it was written from and no hard negative, which needs no judge
    (Gecko's initial embedder, arXiv 2403.20327, section 3.2)."""

    positive: Literal["first", "margin", "seed"] = "first"
    """Which candidate becomes the positive. first: the first by fusion (Gecko, arXiv 2403.20327);
    margin: the first, unless it leads the seed passage by less than `positive_margin`; seed: the
    passage that the query was written for."""
    positive_margin: float = Field(0.5, ge=0)
    """Least lead over the seed passage for `positive: margin`, in units of the fused score: with
    two rankers and no constant the best possible score is 2. 0.5 is by how much the first place of
    one ranker exceeds its second."""
    min_relevance: float | None = None
    """Relevance from which a candidate counts as an answer: the log-odds of rc, or the grade where
    graded is among the rankers and rc is not. A query without an answer is dropped; only an answer
    (or the seed passage, where `positive` keeps it) becomes the positive, and none becomes a
    negative. null: off."""
    more_positives: float | None = None
    """Relevance from which further candidates become positives of examples of their own (RLHN,
    arXiv 2505.16967), on the scale of `min_relevance`; null: off."""
    negatives: Literal["lowest", "hardest", "sampled", "range"] = "lowest"
    """Which of the eligible candidates become hard negatives. lowest: the last ones (Gecko's p_N,
    arXiv 2403.20327); hardest: the first ones (with max_negative_share 0.95 the TopK-PercPos of
    NV-Retriever, arXiv 2407.15831, and NV-Embed); sampled: drawn from all of them; range: drawn
    from the ranks in `negative_range`."""
    negatives_by: Literal["fusion", "retriever"] = "fusion"
    """Order in which eligible negatives are ranked: by the fused ranks, or by the retriever's
    similarity."""
    negative_count: int = Field(1, ge=0)
    """Number of hard negatives for each query. Gecko and E5-Mistral (arXiv 2401.00368) have 1."""
    negative_range: tuple[int, int] = (11, 20)
    """First and last rank for `negatives: range`, counted from 1 among the candidates that may be
    negatives; the positive, the seed passage and what is too similar are left out before counting.
    The default is the lower half of 20 candidates, a convention that was not measured."""
    max_negative_share: float | None = Field(None, gt=0)
    """Limit for a negative's similarity, as a share of the positive's (NV-Retriever, arXiv
    2407.15831: 0.95); null: no limit. For a positive of negative similarity s the limit is
    s - |s| (1 - share), so that it lies below the positive."""
    negative_margin: float | None = Field(None, ge=0)
    """Least distance, in cosine similarity, of a negative below its positive; null: no limit."""
    confirmed_exempt: bool = False
    """Exempt negatives that the language model confirms (rc below 0, or grade below 1) from
    max_negative_share and negative_margin."""
    near_duplicates: float | None = Field(0.8, gt=0, le=1)
    """Jaccard similarity of word triples from which a passage counts as the same as the seed or the
    positive, and so is no negative; null: only the passages themselves. 0.8 is a convention that
    was not measured."""
    shard_size: int = Field(256, gt=0)
    """Queries (candidates, labels, examples) or judged pairs per shard: the most that is lost when
    the process is killed."""
    block: int = Field(4096, gt=0)
    """Number of queries whose candidates are grouped by passage before judging; more of them share
    more computation and take more memory."""

    @field_validator("llm")
    @classmethod
    def _name_place(cls, llm: LanguageModel | None) -> LanguageModel | None:
        return None if llm is None else llm.put_at("relabel.llm")

    @model_validator(mode="after")
    def _check_fit(self) -> "Relabel":
        first, last = self.negative_range
        if not 1 <= first <= last:
            raise ValueError("negative_range must be [first, last] with 1 <= first <= last")
        if len(set(self.rankers)) != len(self.rankers):
            raise ValueError("relabel.rankers names one twice")
        weights = {} if self.weights == "auto" else self.weights
        if stray := set(weights) - set(self.rankers):
            raise ValueError(f"relabel.weights: {sorted(stray)[0]} is not among relabel.rankers")
        if any(weight < 0 for weight in weights.values()):
            raise ValueError("relabel.weights must not be negative")
        if all(weights.get(ranker, 1.0) == 0 for ranker in self.rankers):
            raise ValueError("relabel.weights: every ranker weighs 0, so nothing would be ranked")
        if stray := set(self.cascade.by) - set(self.rankers):
            raise ValueError(f"relabel.cascade.by: {sorted(stray)[0]} is not among relabel.rankers")
        if "cross_encoder" in self.rankers and self.cross_encoder is None:
            raise ValueError("relabel.rankers has cross_encoder: set relabel.cross_encoder")
        if self.fused and not {"ql", "rc"} <= set(self.rankers):
            raise ValueError("relabel.fused judges ql and rc in one pass: name both as rankers")
        if self.seed_margin is not None and not {"ql", "rc", "graded"} & set(self.rankers):
            raise ValueError("relabel.seed_margin needs the ranker ql, rc or graded")
        relevance = self.min_relevance is not None or self.more_positives is not None
        if (relevance or self.confirmed_exempt) and not {"rc", "graded"} & set(self.rankers):
            raise ValueError(
                "relabel.min_relevance, more_positives and confirmed_exempt need the ranker rc or "
                "graded"
            )
        return self

    def keep_seeds(self) -> "Relabel":
        """Return the settings of a round that judges nothing."""
        unchanged = {key: getattr(self, key) for key in ("top_k", "shard_size", "block")}
        return Relabel(rankers=["retriever"], positive="seed", negative_count=0, **unchanged)

    @property
    def takes_own_judge(self) -> bool:
        """Whether the judge of the recipe's section `judge` is among the rankers."""
        return "cross_encoder" in self.rankers and self.cross_encoder == OWN_JUDGE

    def get_weight(self, ranker: Ranker) -> float:
        """Return a ranker's weight in the fusion.

        Raises:
            ValueError: if it is `auto` still: who fuses ranks has settled it before.
        """
        if self.weights == "auto":
            raise ValueError("relabel.weights auto is not settled")
        return self.weights.get(ranker, 1.0)

    @property
    def judges(self) -> list[Judge]:
        """The rankers that have something to judge."""
        return [judge for judge in JUDGES if judge in self.rankers]

    @property
    def first_judges(self) -> list[Judge]:
        """Those that judge all candidates."""
        return [j for j in self.judges if not self.cascade.by or j in self.cascade.by]


class DistilledJudge(Section):
    """A small cross-encoder of the corpus, which learns from the judgements of others."""

    encoder: Word | None = None
    """The encoder that the judge is made from, as a hub id or a folder; null: the student's."""
    layers: list[Annotated[int, Field(ge=0)]] | None = Field(None, min_length=1)
    """The encoder's layers that the judge takes over, counted from 0; null: all."""
    max_tokens: int = Field(256, gt=0, le=10_000_000)
    """Longest pair of query and passage that the judge reads, in tokens; the passage's end is cut
    off."""
    rankers: list[Ranker] = []
    """Rankers whose scores the judge learns: each with mean 0 and deviation 1 over a query's list,
    and added by `weights`. Empty: those of relabel.rankers. With relabel.cross_encoder judge these
    rank first, and relabel.rankers then rank the lists that the judge reads."""
    weights: dict[Ranker, float] = {}
    """Weight of each ranker's scores in what the judge learns; 1 for a ranker that is not named."""
    top_k: int = Field(20, ge=2, le=100_000)
    """Number of candidates of each query that teach the judge, where relabel.cross_encoder is
    judge; otherwise it learns from the lists of relabel.top_k. 20, as relabel.top_k."""
    queries: int = Field(5000, ge=10)
    """Largest number of queries whose lists teach the judge, drawn by seed."""
    list_size: int = Field(8, ge=2, le=1000)
    """Number of candidates of a list that one step learns from: the best, the last, and others
    evenly between them by what is learnt (arXiv 2604.04734)."""
    temperature: float = Field(0.5, gt=0)
    """Temperature of the distribution over a list that is learnt (ListNet, Cao et al. 2007), for
    scores with deviation 1. Lower: the best candidate alone counts. 0.5 is a convention that was
    not measured."""
    epochs: float = Field(2.0, gt=0, le=10_000)
    """Number of passes over the lists that teach the judge; fractions are allowed."""
    batch_size: int = Field(8, gt=0, le=1_000_000)
    """Lists per training step of the judge. 8 lists of 8 are 64 pairs; a convention."""
    learning_rate: float = Field(1e-4, gt=0, le=10)
    """Peak learning rate of the judge's training (AdamW). 1e-4 is a convention that was not
    measured: the lists tried were too few to tell (RESULTS.md, The distilled judge)."""
    warmup: float = Field(0.1, ge=0, lt=1)
    """Share of the judge's training steps in which the learning rate rises from 0 to its peak."""
    checkpoint_steps: int = Field(200, gt=0)
    """Number of steps between two checkpoints, from which a judge's training that was killed
    continues."""
    depth: int = Field(50, gt=0, le=10_000)
    """Number of the retriever's first documents that the judge reorders where it is evaluated as a
    reranker."""
    device: Device | None = None
    """Device to train the judge on: cpu, cuda or mps; null: the best one available. Of several GPUs
    the environment variable CUDA_VISIBLE_DEVICES chooses one."""

    @model_validator(mode="after")
    def _check_teaching_rankers(self) -> "DistilledJudge":
        if "cross_encoder" in self.rankers:
            raise ValueError("judge.rankers: a cross-encoder needs no judge to be distilled of it")
        if len(set(self.rankers)) != len(self.rankers):
            raise ValueError("judge.rankers names one twice")
        if any(weight < 0 for weight in self.weights.values()):
            raise ValueError("judge.weights must not be negative")
        return self

    def list_teachers(self, rule: Relabel) -> list[Ranker]:
        """List the rankers that the judge learns from."""
        return self.rankers or [ranker for ranker in rule.rankers if ranker != "cross_encoder"]

    def check_teachers(self, rule: Relabel) -> None:
        """Check that the judge has something to learn from.

        Raises:
            ValueError: naming the key.
        """
        if stray := set(self.weights) - set(self.list_teachers(rule)):
            raise ValueError(f"judge.weights: {sorted(stray)[0]} is not among judge.rankers")
        if rule.takes_own_judge:
            if not {*self.rankers} - {"retriever"}:
                raise ValueError(
                    "relabel.cross_encoder judge: name in judge.rankers who teaches it, such as "
                    "[ql, retriever]"
                )
        elif stray := set(self.rankers) - {*rule.rankers, "retriever"}:
            raise ValueError(
                f"judge.rankers: {sorted(stray)[0]} is not among relabel.rankers, whose labels the "
                "judge learns from (with relabel.cross_encoder judge it has its own)"
            )
