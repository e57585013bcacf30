"""Score requests in tokens, for the engines that tokenize by themselves."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from distill.errors import UserError
from distill.llm.protocol import Score, ScoreRequest
from distill.llm.score_checks import make_unusable_score
from distill.llm.tokenization import PromptTokenizer


class ScoreTokens(NamedTuple):
    """A score request in tokens: the prefix, the continuations, and the endings of each."""

    prefix: list[int]
    continuations: list[list[int]]
    endings: list[list[int]]
    endings_only: bool = False

    def list_fitting(self, most: int) -> list[int]:
        """List the numbers of the continuations that a model of `most` tokens can read behind the
        prefix, with each ending."""
        room = most - len(self.prefix) - max(map(len, self.endings), default=0)
        return [number for number, ids in enumerate(self.continuations) if len(ids) <= room]

    def select(self, numbers: Sequence[int]) -> "ScoreTokens":
        """Select the continuations of these numbers."""
        return self._replace(continuations=[self.continuations[number] for number in numbers])

    def fill_unusable(
        self, fitting: Sequence[int], scores: Sequence[Score], most: int
    ) -> list[Score]:
        """Return a score for each continuation: those of the fitting ones in order, and unusable
        ones for those that are too long."""
        known = dict(zip(fitting, scores, strict=True))
        fault = f"prefix and continuation are longer than the {most} tokens that the model takes"
        unusable = make_unusable_score(fault, len(self.endings))
        return [known.get(number, unusable) for number in range(len(self.continuations))]


def score_fitting(
    tokens: Sequence[ScoreTokens],
    most: int,
    score: Callable[[list[ScoreTokens]], list[list[Score]]],
) -> list[list[Score]]:
    """Score the continuations that a model of `most` tokens can read; the others get a score with a
    fault.

    Args:
        score: called once, with the requests of which anything fits, and that of them which does;
            returns a score for each continuation.
    """
    fitting = [one.list_fitting(most) for one in tokens]
    kept = [number for number, places in enumerate(fitting) if places]
    computed = score([tokens[n].select(fitting[n]) for n in kept])
    scores = dict(zip(kept, computed, strict=True))
    return [
        one.fill_unusable(places, scores.get(number, []), most)
        for number, (one, places) in enumerate(zip(tokens, fitting, strict=True))
    ]


def tokenize_request(tokenizer: PromptTokenizer, request: ScoreRequest) -> ScoreTokens:
    """Tokenize a request.

    Raises:
        UserError: if a continuation or an ending is empty.
    """
    tokenize = tokenizer.tokenize_continuation
    tokens = ScoreTokens(
        tokenizer.tokenize(request.prefix, add_bos=True),
        [tokenize(request.prefix, text) for text in request.continuations],
        # All continuations end alike, in the text before the verdict.
        [tokenize(request.continuations[0], text) for text in request.endings],
        request.endings_only and bool(request.endings),
    )
    if not all(tokens.continuations) or not all(tokens.endings):
        raise UserError(
            f"the prompt that ends in {request.prefix[-60:]!r}",
            "has an empty continuation",
            "fix the prompt file",
        )
    return tokens
