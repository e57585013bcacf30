"""The section `train`: how it is trained."""

from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationError, model_validator

from distill.recipe.renamed_keys import RENAMED_KEYS
from distill.recipe.sections.objective import (
    KL,
    SCORED_TERMS,
    Align,
    CorpusSoftmax,
    InfoNCE,
    MarginMSE,
    MultiPositive,
    Objective,
    list_needed_rankers,
    list_score_names,
)
from distill.recipe.sections.section import Device, Section, Seed, Width
from distill.recipe.sections.student import AddedStatic

TITLES = "titles"
"""A source of `train.mixture`: titles as queries for what stands below them."""
GLOBAL_KEYS = (
    "stages",
    "seed",
    "device",
    "launcher",
    "dtype",
    "base_dtype",
    "kernel",
    "checkpoint_steps",
    "trackers",
    "validation",
    "interpolation",
)
"""What no training stage sets for itself."""
PERFORMANCE_KEYS = {
    "device",
    "launcher",
    "checkpoint_steps",
    "trackers",
    "mini_batch_tokens",
    "gradient_checkpointing",
    "kernel",
}
"""What does not change what is learnt, and is no part of a fingerprint."""


class MixtureSource(Section):
    """One set of examples in the mixture."""

    newer: ClassVar[frozenset[str]] = frozenset({"task_types"})

    path: str
    """What is trained on: the name of a stage of the run, such as examples; a folder of Parquet
    shards with the columns of examples; or titles, which trains every passage as the answer to its
    title."""
    task_types: list[str] = []
    """Only rows of these task types, such as [log] for the queries of a log; empty: all rows. The
    same set may stand in a mixture several times."""
    weight: float = Field(1.0, gt=0)
    """How often each row is seen in an epoch: 2 is twice; 0.5 is every second row, drawn by
    seed."""


class Validation(Section):
    """Queries that are not trained on, to choose a checkpoint by."""

    share: float = Field(0.0, ge=0, lt=1)
    """Share of the positive passages that is held out of training with all their queries; 0:
    none."""
    every: int = Field(100, gt=0)
    """Run validation every N steps: nDCG@10 where queries are held out, and signs of collapse. A
    validated checkpoint may be chosen by `keep` and `soup`."""
    queries: int = Field(500, gt=0)
    """Largest number of held-out queries to validate on, drawn by seed."""
    passages: int = Field(10_000, gt=0)
    """Largest number of passages that validation searches, the positives of its queries among
    them."""


class Train(Section):
    """The section `train`: the schedule, the objective and the data of a student's training."""

    section: ClassVar[str | None] = "train"
    newer: ClassVar[frozenset[str]] = frozenset(
        {
            "weight_decay",
            "base_dtype",
            "bm25_share",
            "corpus_softmax",
            "interpolation",
            "multi_positive",
            "embedding_learning_rate",
            "max_steps",
        }
    )

    epochs: float = Field(1.0, gt=0, le=10_000)
    """Number of passes over the mixture; fractions are allowed. 1 is a convention; `distill init`
    takes 3 for fewer than 5,000 passages."""
    max_steps: int | None = Field(None, gt=0)
    """Most training steps, where `epochs` would be more; null: no limit."""
    batch_size: int = Field(32, gt=1, le=1_000_000)
    """Rows per training step, summed over all processes, so that the number of steps does not
    depend on them. 32 is a convention that fits the memory of a small machine; more rows are more
    in-batch negatives (E5-Mistral, arXiv 2401.00368: 2,048), in the same memory with
    `mini_batch_tokens`."""
    learning_rate: float = Field(2e-4, gt=0, le=10)
    """Peak learning rate of AdamW. 2e-4 is a convention that was not measured: recipes for students
    with layers cut out take 1e-4 to 3e-4, those that adapt a whole model 2e-5 to 3e-5."""
    embedding_learning_rate: float | None = Field(None, gt=0, le=10)
    """Peak learning rate of the vectors that the encoder has of its tokens; null: `learning_rate`.
    A rare token is in few queries of a training, and its vector moves only then: a rate of 30 times
    the others' lets the student learn the corpus' own words in one epoch. The gain of that over one
    rate was not told apart from none on five corpora (+0.002; RESULTS.md, The transformer
    alone)."""
    weight_decay: float = Field(0.0, ge=0)
    """Weight decay of AdamW, for all weights but biases and norms (E5-Mistral, arXiv 2401.00368:
    0.1)."""
    warmup: float = Field(0.1, ge=0, lt=1)
    """Share of the steps in which the learning rate rises from 0 to its peak. 0.1 is a convention
    that was not measured."""
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = "linear"
    """Course of the learning rate after the warmup."""
    dropout: float | None = Field(None, ge=0, lt=1)
    """Dropout probability of the transformer's hidden states; null: what its configuration says
    (0.1 in most encoders, none in most decoders). A LoRA has its own."""
    widths: list[Width] | None = Field(None, min_length=1)
    """Matryoshka widths to train at (dimensions, arXiv 2205.13147), the full width included; null:
    the full width alone. Alignment is computed at full width only, since a teacher's vectors are
    not known to be cuttable; `similarity_matrix` passes the teacher's knowledge to the other
    widths."""
    objective: Objective = Objective(infonce=1.0)
    """Weights of the loss terms that are summed; a term that is not named is left out."""
    infonce: InfoNCE = InfoNCE()
    """Settings of the contrastive loss (Gecko, arXiv 2403.20327, equation 3)."""
    multi_positive: MultiPositive = MultiPositive()
    """Settings of the contrast with all candidates that a judge found relevant (arXiv
    2602.12727)."""
    align: Align = Align()
    """Settings of the alignment with the teacher's vectors (LEAF, arXiv 2509.12539; jina-v5, arXiv
    2602.15547)."""
    kl: KL = KL()
    """Settings of the divergence from soft scores over a query's candidates."""
    margin_mse: MarginMSE = MarginMSE()
    """Settings of the squared error of score margins (arXiv 2010.02666)."""
    corpus_softmax: CorpusSoftmax = CorpusSoftmax()
    """Settings of the softmax over the whole corpus, which trains a query encoder against documents
    that stay as they are."""
    bm25_share: float = Field(0.5, ge=0, le=1)
    """Weight of BM25 in the soft scores `hybrid`; the retriever's similarity has the rest. 0.5:
    both weigh the same; 0.33: the similarity weighs twice as much. Equal weights are a convention;
    on docstrings of other packages shares of 0, 0.333 and 1 gave 0.797, 0.806 and 0.805 nDCG@10
    (RESULTS.md, The transformer alone)."""
    mixture: list[MixtureSource] = []
    """Sets of examples to train on, each with its weight; empty: every example of the run once per
    epoch."""
    balance: Literal["rows", "task_type"] = "rows"
    """How task types are balanced. rows: as they come; task_type: every type has as many rows per
    epoch, repeated or left out."""
    batches: Literal["blended", "homogeneous"] = "blended"
    """How batches are composed. blended: rows of all task types together; homogeneous: all rows of
    a batch are of one task type."""
    group_by_length: bool = False
    """Batch examples of similar length: batches are drawn at random, then the rows of 32 batches,
    or of a quarter of them where there are fewer, are sorted among these. This saves padding, but
    rows of one length meet again in every epoch and have fewer in-batch negatives to learn from.
    Plain texts to align are always grouped, and a batch in mini-batches is sorted by length
    anyway."""
    no_in_batch_negatives: list[str] | Literal["all"] = []
    """Task types whose rows have no in-batch negatives, since for example in classification another
    row's positive may be of the same class. all: no row has any (NV-Embed, arXiv 2405.17428, stage
    two)."""
    keep: Literal["last", "best"] = "last"
    """Which weights become the student. last: those at the end; best: those with the best nDCG@10
    in validation. Those of a query encoder (student.route query) before its first step count too,
    and are the student where no others were better."""
    soup: int = Field(1, gt=0)
    """Number of checkpoints, the last or the best by `keep`, whose weights are averaged into the
    student (model soups, Wortsman et al. 2022, arXiv 2203.05482); 1: no averaging."""
    interpolation: float = Field(1.0, ge=0, le=1)
    """Share of the trained weights in their mean with the weights before training, which becomes
    the student (WiSE-FT, arXiv 2109.01903, equation 1). 1: the trained weights alone; 0: those
    before training. Of several rounds or stages the end is interpolated with the untrained base,
    which `keep: best` keeps where a query encoder's mean is no better."""
    validation: Validation = Validation()
    """Settings of validation: queries that are not trained on, to choose a checkpoint by."""
    stages: list[dict[str, Any]] = []
    """Training stages, run one after the other, each from the weights of the one before. Each has a
    `name` and the keys of `train` that it sets differently. Empty: one stage, with the keys of
    `train` itself."""
    mini_batch_tokens: int | None = Field(None, gt=0)
    """Tokens per mini-batch held in memory at once, whatever the batch size (GradCache, arXiv
    2101.06983); null: the whole batch at once."""
    gradient_checkpointing: bool = False
    """Compute activations again instead of storing them: a third more time, less memory."""
    checkpoint_steps: int = Field(100, gt=0)
    """Save a checkpoint to resume from every N steps."""
    trackers: list[Literal["tensorboard", "trackio", "wandb"]] = []
    """Where training curves are sent in addition to training.json."""
    seed: Seed | None = None
    """Seed of shuffling and dropout; null: the recipe's."""
    device: Device | None = None
    """Device to train on: cpu, cuda or mps; null: the best one available. Of several GPUs the
    environment variable CUDA_VISIBLE_DEVICES chooses one."""
    launcher: Literal["none", "ray"] = "none"
    """Who starts the processes that train. none: this process trains, or those do that accelerate
    or torchrun has started; ray: Ray Train starts them on the GPUs of the cluster that
    `execution.address` names, or on its CPUs, as many as `execution.workers: {train: N}` says."""
    dtype: Literal["auto", "float32", "bfloat16"] = "float32"
    """Number type of the matrix products; weights stay in float32. auto: bfloat16 where the device
    computes it natively, else float32."""
    base_dtype: Literal["float32", "auto"] = "float32"
    """Number type of the frozen weights under a student.lora. auto: bfloat16 where the matrix
    products are computed in it, which halves the memory of a large model. The trained weights and
    the saved student are float32 in either case."""
    kernel: Literal["sdpa", "eager", "flash_attention_2"] | None = None
    """Implementation of attention in training; null: the default of transformers, mostly sdpa.
    flash_attention_2 needs a GPU, the package flash-attn and half precision."""

    @model_validator(mode="after")
    def _check_stages(self) -> "Train":
        names = list(self.list_stages())
        if len(names) < len(self.stages):
            raise ValueError(f"stages: each needs a name of its own, not {names}")
        if self.kernel == "flash_attention_2" and self.dtype == "float32":
            raise ValueError(
                "kernel: flash_attention_2 computes in half precision: dtype: bfloat16"
            )
        if self.launcher == "ray" and self.device is not None and self.device.startswith("cuda:"):
            raise ValueError(
                f"device: {self.device} with launcher: ray, which gives GPUs out: name cuda"
            )
        best = any(stage.keep == "best" for stage in self.list_stages().values())
        if best and self.validation.share == 0:
            raise ValueError("keep: best needs validation.share above 0")
        return self

    def list_stages(self) -> dict[str, "Train"]:
        """Return the settings of each training stage, by name. A stage's `objective` replaces the
        whole sum; other sections are merged key by key."""
        if not self.stages:
            return {"train": self}
        return {str(stage.get("name")): self._apply_stage(stage) for stage in self.stages}

    def check_first_round_of_seeds(self, example_stages: list[str]) -> None:
        """Check whether a round of seed passages, which judges nothing and chooses no hard
        negatives, has what this training learns.

        Args:
            example_stages: others than `examples` may bring hard negatives of their own.

        Raises:
            ValueError: naming the term.
        """
        for stage in self.list_stages().values():
            for term in (term for term in SCORED_TERMS if getattr(stage.objective, term)):
                scores = getattr(stage, term).scores
                if list_needed_rankers(scores) or "rrf" in list_score_names(scores):
                    raise ValueError(
                        f"relabel.first_round seed judges nothing, and train.objective.{term} "
                        "learns what was judged"
                    )
                of_chosen = term == "margin_mse" or (
                    term == "kl" and stage.kl.candidates == "chosen"
                )
                if of_chosen and example_stages == ["examples"]:
                    raise ValueError(
                        "relabel.first_round seed chooses no hard negatives, and train.objective."
                        f"{term} learns how they differ from the positive: leave first_round out"
                        + (", or set train.kl.candidates: all" if term == "kl" else "")
                    )

    def make_static(self, added: AddedStatic) -> "Train":
        """Return how the static encoder of `student.add_static` is trained: as in the last training
        stage, for its own epochs at its own rate, to the end."""
        last = list(self.list_stages().values())[-1]
        own: dict[str, Any] = {
            "epochs": added.epochs,
            "max_steps": None,
            "learning_rate": added.learning_rate,
            "embedding_learning_rate": None,
            "weight_decay": 0.0,
            "dropout": None,
            "dtype": "float32",
            "keep": "last",
            "soup": 1,
            "interpolation": 1.0,
            "validation": Validation(),
            "stages": [],
            "widths": None,
            "mini_batch_tokens": None,
            "gradient_checkpointing": False,  # there is no transformer
            "kernel": None,
        }
        return last.model_copy(update=own)

    def _apply_stage(self, stage: dict[str, Any]) -> "Train":
        name = stage.get("name")
        if not isinstance(name, str) or not name.replace("-", "").isalnum():
            raise ValueError(f"stages: a stage needs a name of letters, digits and -, not {name!r}")
        keys = {key: value for key, value in stage.items() if key != "name"}
        if refused := sorted(keys.keys() & set(GLOBAL_KEYS)):
            raise ValueError(f"stages, {name}: {refused[0]} is set for all stages, in `train`")
        values = self.model_dump(exclude={"stages"})
        for key, value in keys.items():
            merged = isinstance(value, dict) and isinstance(values.get(key), dict)
            values[key] = values[key] | value if merged and key != "objective" else value
        try:
            return Train.model_validate(values)
        except ValidationError as fault:
            first = fault.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            message = first["msg"].removeprefix("Value error, ")
            if first["type"] == "extra_forbidden" and (new := RENAMED_KEYS.get(f"train.{key}")):
                message = f"the key is now called {new}"
            raise ValueError(f"stages, {name}: {key or 'train'}: {message}") from fault
