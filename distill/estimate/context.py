"""The inputs that every line of an estimate is computed from."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from distill.estimate.amounts import UNKNOWN, ZERO, Amount, StageEstimate, make_exact_amount
from distill.estimate.measure import EmbeddedText, EmbeddingSpeed, UnitCost, measure_teacher
from distill.estimate.prices import Price
from distill.estimate.storage import (
    NO_PASSAGES,
    PassageBytes,
    compute_row_bytes,
    compute_vector_bytes,
)
from distill.estimate.student_speed import StudentSpeed
from distill.llm.protocol import LLM
from distill.recipe import Recipe
from distill.store.stage import Stage


@dataclass
class EstimateContext:
    """The inputs of an estimate. `llm` opens the LLM that writes, `judging_llm` the one that judges
    candidates. `sample`: number of prompts that are asked, 0 for none. Prices are None without a
    file of prices, `held_out`, `held_out_passages` and `passages` where the recipe
    has none. `embedded`: a stage before this one has embedded the corpus with the retriever."""

    recipe: Recipe
    passages: Stage | None
    held_out: Stage | None
    llm: Callable[[], LLM]
    sample: int
    price: Price | None
    embedding: EmbeddingSpeed
    students: StudentSpeed
    held_out_passages: Stage | None = None
    passage_bytes: PassageBytes = NO_PASSAGES
    judging_llm: Callable[[], LLM] | None = None
    judging_price: Price | None = None
    embedded: bool = field(default=False, init=False)

    def turn_to_judging(self) -> "EstimateContext":
        """Return the context of what the LLM judges for relabelling, whose price is its own."""
        return replace(self, llm=self.judging_llm or self.llm, price=self.judging_price)

    @property
    def corpus_size(self) -> int:
        """The number of passages; 0 without a corpus."""
        return 0 if self.passages is None else int(self.passages.manifest["rows"])

    @property
    def held_out_size(self) -> int:
        """The number of held-out passages; 0 where none is needed."""
        held_out = self.held_out_passages
        return 0 if held_out is None else int(held_out.manifest["rows"])

    def estimate_llm_stage(
        self, stage: str, amount: Amount, unit: str, pieces: Amount, each: UnitCost, note: str = ""
    ) -> StageEstimate:
        """Estimate a stage whose LLM processes this number of `pieces`."""
        prompt, new = pieces.multiply(each.prompt), pieces.multiply(each.new)
        return StageEstimate(
            stage,
            amount,
            unit,
            prompt_tokens=prompt,
            shared_tokens=None if each.shared is None else pieces.multiply(each.shared),
            new_tokens=new,
            seconds=pieces.multiply(each.seconds) if each.seconds != UNKNOWN else UNKNOWN,
            cost=None if self.price is None else self.price.compute(prompt, new),
            note=note,
        )

    def estimate_retriever_stage(
        self, stage: str, amount: Amount, unit: str, queries: Amount
    ) -> StageEstimate:
        """Estimate a stage that embeds queries, and the corpus where no earlier one has. A query,
        which is shorter, takes at most the time of a passage."""
        corpus = ZERO if self.embedded else make_exact_amount(self.corpus_size)
        self.embedded = True
        each, dimensions = self._measure_retriever()
        seconds = corpus.multiply(each) + Amount(0.0, queries.high).multiply(each)
        texts = f"embeds {queries.text} queries"
        if corpus.high:
            texts = f"embeds {corpus.text} passages and {queries.text} queries"
        return StageEstimate(
            stage,
            amount,
            unit,
            seconds=UNKNOWN if each == UNKNOWN else seconds,
            disk=compute_disk(corpus, dimensions, self.recipe.retriever.vectors),
            note=texts,
        )

    def add_storage(
        self, line: StageEstimate, table: str, shards: Amount | None = None
    ) -> StageEstimate:
        """Return a line with the bytes of its rows in a table, beside those of vectors that it has
        already, and with its shards, where their number is known."""
        negatives = self.recipe.relabel.negative_count
        rows = line.amount.multiply(compute_row_bytes(table, self.passage_bytes.table, negatives))
        return replace(line, disk=rows + (line.disk or ZERO), shards=shards)

    def count_candidates(self) -> int:
        """Count the most candidates of one query: its seed passage is judged even where retrieval
        missed it."""
        retriever = self.recipe.retriever
        lists = len(retriever.sources) if retriever.merge == "union" else 1
        return min(self.recipe.relabel.top_k * lists + 1, self.corpus_size)

    def measure_teacher(self) -> EmbeddedText:
        """Measure what a text takes of the teacher; unknown without one, and for a server."""
        return measure_teacher(self.recipe.teacher, self.embedding)

    def _measure_retriever(self) -> EmbeddedText:
        """Measure the retriever; unknown for a server."""
        of = self.recipe.retriever
        if of.base_url is not None:
            return EmbeddedText(UNKNOWN, None)
        return self.embedding.measure(of.model, of)


def compute_disk(texts: Amount, dimensions: int | None, precision: str = "float32") -> Amount:
    """Compute the bytes of the vectors of this number of texts; of unknown width, no upper
    bound."""
    if dimensions is None:
        return UNKNOWN if texts.high else ZERO
    return texts.multiply(compute_vector_bytes(dimensions, precision))
