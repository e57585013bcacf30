"""The section `student`: what is trained."""

from collections.abc import Collection
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from distill.recipe.sections.section import Section, Word
from distill.text.format import TextFormat
from distill.text.templates import check_plain_template


class Latent(Section):
    """Latent attention (NV-Embed, sec. 3.1)."""

    latents: int = Field(512, gt=0, le=65_536)
    """Number of latent vectors, the trained keys and values of the latent attention (NV-Embed,
    arXiv 2405.17428: 512)."""
    heads: int = Field(8, gt=0, le=1024)
    """Number of attention heads, each as wide as the model, as in the released NV-Embed."""


class Lora(Section):
    """Low-rank adaptation: the transformer stays as it is, and small matrices beside it learn."""

    rank: int = Field(16, gt=0, le=65_536)
    """Rank of the low-rank matrices (LoRA, arXiv 2106.09685)."""
    alpha: int = Field(32, gt=0, le=1_000_000)
    """Scale of the low-rank update, which is multiplied by alpha / rank (LoRA, arXiv
    2106.09685)."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout probability on the input of the low-rank matrices."""
    targets: list[Word] | None = Field(None, min_length=1)
    """Names of the linear layers that are adapted; null: all of them."""
    save: Literal["merged", "adapter"] = "merged"
    """What is saved. merged: a whole model with the update added to its weights; adapter: the small
    matrices alone, which need the run's `base` beside them to load."""


class Static(Section):
    """A query encoder without a transformer: a vector for each token, and their mean."""

    newer: ClassVar[frozenset[str]] = frozenset({"prior"})

    ridge: float = Field(0.3, gt=0)
    """Strength of the ridge regression from a text's token counts to its teacher's vector, whose
    solution the token vectors begin as. Larger: the vectors of rare tokens are nearer to
    `prior`."""
    prior: Literal["zero", "token"] = "zero"
    """What the ridge regression draws the token vectors to, and what a token that no text has
    keeps. zero: none; token: the teacher's vector of the token as a text of its own, less their
    mean, and weighted by how rare the token is (Arora et al. 2017). The teacher embeds every token
    once."""
    documents: int = Field(100_000, gt=0)
    """Most passages that this regression learns from, beside all queries; of a larger corpus they
    are drawn by the recipe's seed."""
    gate_rate: float = Field(5.0, ge=0, le=1000)
    """How many times faster than its vector a token's weight in the mean is learned; 0: all tokens
    keep the same weight. The saved token vectors have their weight in them."""


class AddedStatic(Section):
    """A static query encoder beside a transformer: their vectors are added."""

    weight: float = Field(0.5, gt=0, le=100)
    """Mean length of the static encoder's vectors beside the transformer's, which are of length
    1."""
    epochs: float = Field(10.0, gt=0, le=10_000)
    """Number of passes over the examples that the static encoder learns from."""
    learning_rate: float = Field(2e-3, gt=0, le=10)
    """Peak learning rate of the static encoder's token vectors."""


class Student(Section):
    """The section `student`: the small model that is trained, and how it is made from its
    encoder."""

    newer: ClassVar[frozenset[str]] = frozenset(
        {"symmetric", "route", "architecture", "static", "projection", "add_static"}
    )

    encoder: Word = "sentence-transformers/all-MiniLM-L6-v2"
    """The model that the student is made from: a BERT-like encoder or a decoder, as a hub id, a
    folder or a GGUF file."""
    route: Literal["both", "query"] = "both"
    """What the student encodes. both: queries and documents; query: queries alone, in the space of
    the teacher, whose document vectors stay as they are: an index of the teacher's vectors is
    searched with the student, and nothing in it is embedded again. It needs the objective
    corpus_softmax and, where the encoder has another width than the teacher, student.dimensions."""
    architecture: Literal["transformer", "static"] = "transformer"
    """What computes a vector. transformer: the encoder; static: the mean of a vector for each
    token, which is a look-up and no more. A static student has the encoder's tokenizer alone and
    the teacher's width, and needs route query."""
    static: Static = Static()
    """Settings of the architecture static, and of add_static: how token vectors begin and learn."""
    add_static: AddedStatic | None = None
    """Adds to the transformer's vector that of a static query encoder of the corpus' tokens, which
    is trained of the same examples before it; the sum is the student. It needs route query, and
    costs a look-up a token. null: the transformer alone."""
    layers: list[Annotated[int, Field(ge=0)]] | None = Field(None, min_length=1)
    """The encoder's layers that the student takes over, counted from 0; null: all."""
    vocabulary: Literal["all", "corpus"] = "all"
    """Tokens that the student can read. all: the encoder's; corpus: those of the corpus' passages,
    and every single character or byte. Generated queries and tasks are not read, so that the base
    is the same whatever is generated; a word that only they have is split into more pieces
    (docstrings: one query in eight)."""
    attention: Literal["bidirectional", "causal"] = "bidirectional"
    """Attention of a decoder: bidirectional or causal. An encoder is always bidirectional."""
    pooling: Literal["mean", "last", "cls", "latent"] = "mean"
    """How token states become one vector. mean: their average; last: the end-of-sequence token,
    which is appended to each text; cls: the first token; latent: latent attention (NV-Embed, arXiv
    2405.17428)."""
    pool_prompt: bool = True
    """Whether the prompt's tokens count in the vector too, for the poolings mean and latent."""
    latent: Latent = Latent()
    """Settings of the pooling latent: size of the latent attention."""
    dimensions: int | None = Field(None, gt=0, le=65_536)
    """Width of the student's vectors, reached by a linear layer on the pooled vector; null: the
    encoder's own."""
    projection: Literal["random", "fitted"] = "random"
    """What the linear layer of `dimensions` begins as. random: small random weights; fitted: the
    weights that bring the student's vectors of 2,000 passages nearest to the teacher's, in closed
    form. With `route: query` an encoder of another space needs it, for training alone moves the
    layer too little."""
    lora: Lora | None = None
    """Settings of low-rank adaptation (LoRA, arXiv 2106.09685), which trains small matrices beside
    frozen weights; null: all weights are trained."""
    max_tokens: int = Field(256, gt=0, le=10_000_000)
    """Longest text that the student reads, in tokens; what exceeds it is cut off."""
    query_template: str = "{query}"
    """Text of a training query; must end in {query}, and {task} stands for the task's instruction.
    With `default_task` instead of {task}, what precedes {query} is saved in the model as its
    query prompt."""
    default_task: str = "Given a query, find the passages that answer it."
    """Task instruction that replaces {task} in the query prompt saved in the model, and for
    evaluation tasks without a description."""
    document_template: str = "{text}"
    """Text of a document; must end in {text}. {title} stands for the title, or "none" for a
    document without one (Gecko, arXiv 2403.20327: "title: {title} | text: {text}"); without {title}
    a document's title and text are joined by a blank. What precedes the text of a document without
    a title is saved in the model as its document prompt. A `document_prompt: X` of an older recipe
    is "X{text}" here."""
    symmetric: list[Word] = []
    """Task types whose two sides are alike, such as sts, nli, classification or sentence
    similarity: their documents are written as queries of the same task (Gecko, arXiv 2403.20327,
    section 4.1; NV-Embed, arXiv 2405.17428, section 4.2). Empty: instructions on queries alone, as
    in E5-Mistral."""

    @model_validator(mode="before")
    @classmethod
    def _read_older_form(cls, values: Any) -> Any:
        if not isinstance(values, dict) or "document_prompt" not in values:
            return values
        if not isinstance(values["document_prompt"], str | None):
            raise ValueError("document_prompt: a text is expected; quote it")
        rest = {key: value for key, value in values.items() if key != "document_prompt"}
        if rest.get("document_template", "{text}") != "{text}":
            raise ValueError("document_prompt and document_template say the same: name the latter")
        return rest | {"document_template": f"{values['document_prompt'] or ''}{{text}}"}

    @model_validator(mode="after")
    def _check_fit(self) -> "Student":
        check_plain_template(self.query_template, ("task", "query"), "query_template")
        check_plain_template(self.document_template, ("title", "text"), "document_template")
        if not self.document_template.endswith("{text}"):
            raise ValueError("document_template must end in {text}")
        if self.document_template.count("{title}") > 1:
            raise ValueError("document_template holds {title} more than once")
        if not self.query_template.endswith("{query}"):
            raise ValueError("query_template must end in {query}: a prompt is what precedes it")
        if self.document_template.count("{text}") > 1:
            raise ValueError("document_template must hold {text} once, at its end")
        if self.query_template.count("{query}") > 1:
            raise ValueError("query_template must hold {query} once, at its end")
        if not self.pool_prompt and self.pooling in ("last", "cls"):
            raise ValueError(f"pool_prompt: pooling {self.pooling} is of one token, not of prompts")
        if self.attention == "causal" and self.pooling == "cls":
            raise ValueError("pooling cls: under causal attention the first token sees no other")
        self._check_static()
        return self

    def _check_static(self) -> None:
        """Refuse what only a transformer has."""
        if self.add_static is not None and self.route != "query":
            raise ValueError("add_static is of an encoder of queries alone: set route: query")
        if self.architecture != "static":
            return
        if self.route != "query":
            raise ValueError("architecture static encodes queries alone: set route: query")
        fields = type(self).model_fields
        of_transformers = (
            "layers",
            "attention",
            "pooling",
            "pool_prompt",
            "dimensions",
            "lora",
            "add_static",
        )
        for name in of_transformers:
            if getattr(self, name) != fields[name].default:
                raise ValueError(f"{name} is of a transformer, and architecture is static")

    def make_static(self) -> "Student":
        """Return the static query encoder that `add_static` adds: of the corpus' tokens."""
        shared = ("encoder", "static", "max_tokens", "query_template", "default_task")
        values = {name: getattr(self, name) for name in (*shared, "document_template")}
        return Student(architecture="static", vocabulary="corpus", route="query", **values)

    @property
    def text_format(self) -> TextFormat:
        """How queries and documents are written for this student."""
        return TextFormat(self.query_template, self.document_template)

    def list_fingerprinted(self, exclude: Collection[str] = ()) -> dict[str, Any]:
        """Return the section's keys and values, with the prompt of documents instead of a
        template that says nothing else."""
        values = super().list_fingerprinted(exclude)
        values["document_prompt"] = self.text_format.document_prompt
        if not self.text_format.has_title:
            del values["document_template"]
        return values
