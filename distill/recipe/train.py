"""The section `train`: how it is trained."""

from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationError, model_validator

from distill.recipe.objective import KL, Align, InfoNCE, MarginMSE, Objective
from distill.recipe.section import Device, Section, Seed, Width

OF_THE_WHOLE = (
    "stages",
    "seed",
    "device",
    "dtype",
    "base_dtype",
    "kernel",
    "checkpoint_steps",
    "trackers",
    "validation",
)
"""What no training stage sets for itself."""
HOW_FAST = {
    "device",
    "checkpoint_steps",
    "trackers",
    "mini_batch_tokens",
    "gradient_checkpointing",
    "kernel",
}
"""What does not change what is learnt, and is no part of a fingerprint."""


class Source(Section):
    """One set of examples in the mixture."""

    path: str
    """The name of a stage of the run, such as examples; a folder of Parquet shards with the
    columns of examples; or titles: every passage as what its title asks for."""
    weight: float = Field(1.0, gt=0)
    """How often each row is seen in an epoch: 2 is twice; of 0.5, every second row, drawn by
    seed."""


class Validation(Section):
    """Queries that are not trained on, to choose a checkpoint by."""

    share: float = Field(0.0, ge=0, lt=1)
    """Of the positive passages, held out with all their queries; 0: none."""
    every: int = Field(100, gt=0)
    """So many steps apart the student is looked at: nDCG@10 where queries are held out, and signs
    of collapse. What is looked at may be kept."""
    queries: int = Field(500, gt=0)
    """At most so many, drawn by seed,"""
    passages: int = Field(10_000, gt=0)
    """against at most so many passages, their positives among them."""


class Train(Section):
    newer: ClassVar[frozenset[str]] = frozenset({"weight_decay", "base_dtype"})

    epochs: float = Field(1.0, gt=0, le=10_000)
    batch_size: int = Field(32, gt=1, le=1_000_000)
    """Rows a step; several processes have it between them, and take the steps that one takes."""
    learning_rate: float = Field(2e-4, gt=0, le=10)
    weight_decay: float = Field(0.0, ge=0)
    """Of AdamW, for all weights but biases and norms (E5-Mistral: 0.1)."""
    warmup: float = Field(0.1, ge=0, lt=1)
    """Share of the steps."""
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = "linear"
    dropout: float | None = Field(None, ge=0, lt=1)
    """Of the transformer's inner states; null: as its configuration says (0.1 in most encoders,
    none in most decoders). A LoRA has its own."""
    widths: list[Width] | None = Field(None, min_length=1)
    """Matryoshka widths, the full width included; null: the full width alone. Alignment is of the
    full width, for a teacher's vectors are not known to be cut; `similarity_matrix` gives what the
    teacher knows to the others."""
    objective: Objective = Objective(infonce=1.0)
    infonce: InfoNCE = InfoNCE()
    align: Align = Align()
    kl: KL = KL()
    margin_mse: MarginMSE = MarginMSE()
    mixture: list[Source] = []
    """What is trained on; empty: every example of the run once an epoch."""
    balance: Literal["rows", "task_type"] = "rows"
    """task_type: each type of task has as many rows in an epoch, repeated or left out."""
    batches: Literal["blended", "homogeneous"] = "blended"
    """homogeneous: all rows of a batch are of one type of task."""
    group_by_length: bool = False
    """Batches of examples of similar length: each is drawn at random, then the rows of 32 batches,
    or of a quarter of them where there are fewer, are sorted among these. Less padding, but rows of
    one length meet again in every epoch, and have fewer in-batch negatives to learn from. (Plain
    texts to align are always grouped, and a batch in mini-batches is sorted by length anyway.)"""
    in_batch_off: list[str] | Literal["all"] = []
    """Types of task whose rows have no in-batch negatives: in a batch of classification, another
    row's positive may be the very same class. all: no row has any (NV-Embed, stage two)."""
    keep: Literal["last", "best"] = "last"
    """Which weights are the student: the last, or the best by validation's nDCG@10."""
    soup: int = Field(1, gt=0)
    """The mean of so many of the last, or best, weights (Wortsman et al. 2022)."""
    validation: Validation = Validation()
    stages: list[dict[str, Any]] = []
    """Trained one after the other, each on from the last: `name`, and the keys of `train` that it
    sets differently. Empty: one stage, by the keys of `train` itself."""
    mini_batch_tokens: int | None = Field(None, gt=0)
    """So many tokens are in memory at once, whatever the batch (GradCache); null: the batch is."""
    gradient_checkpointing: bool = False
    """Activations are computed again in place of being kept: a third more time, less memory."""
    checkpoint_steps: int = Field(100, gt=0)
    trackers: list[Literal["tensorboard", "trackio", "wandb"]] = []
    """Where the curve goes, besides training.json."""
    seed: Seed | None = None
    """Of shuffling and dropout; null: the recipe's."""
    device: Device | None = None
    dtype: Literal["auto", "float32", "bfloat16"] = "float32"
    """Of the matrix products; weights stay in float32. auto: as for the LLM."""
    base_dtype: Literal["float32", "auto"] = "float32"
    """Of the frozen weights under a student.lora. auto: bfloat16 where the matrix products are
    computed in it, which halves what a large model takes; what is trained, and the student that is
    saved, are float32 in either case."""
    kernel: Literal["sdpa", "eager", "flash_attention_2"] | None = None
    """What computes attention in training; null: what transformers takes by itself, sdpa mostly.
    flash_attention_2 needs a GPU, the package flash-attn and half precision."""

    @model_validator(mode="after")
    def _stages_are_valid(self) -> "Train":
        names = list(self.in_stages())
        if len(names) < len(self.stages):
            raise ValueError(f"stages: each needs a name of its own, not {names}")
        if self.kernel == "flash_attention_2" and self.dtype == "float32":
            raise ValueError(
                "kernel: flash_attention_2 computes in half precision: dtype: bfloat16"
            )
        best = any(stage.keep == "best" for stage in self.in_stages().values())
        if best and self.validation.share == 0:
            raise ValueError("keep: best needs validation.share above 0")
        return self

    def in_stages(self) -> dict[str, "Train"]:
        """The settings of each training stage, by name. A stage's `objective` replaces the whole
        sum; other sections are merged key by key."""
        if not self.stages:
            return {"train": self}
        return {str(stage.get("name")): self._with(stage) for stage in self.stages}

    def _with(self, stage: dict[str, Any]) -> "Train":
        name = stage.get("name")
        if not isinstance(name, str) or not name.replace("-", "").isalnum():
            raise ValueError(f"stages: a stage needs a name of letters, digits and -, not {name!r}")
        keys = {key: value for key, value in stage.items() if key != "name"}
        if refused := sorted(keys.keys() & set(OF_THE_WHOLE)):
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
            raise ValueError(f"stages, {name}: {key or 'train'}: {message}") from fault
