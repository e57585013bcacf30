"""The cross-encoder of a recipe, which is loaded where it judges; a worker keeps it from stage to
stage."""

from typing import TYPE_CHECKING, Any

from distill.errors import UserError
from distill.models.reference import identify_revision
from distill.relabel.rankers.passes import RankerSettings, RankingPass, identify_pass
from distill.workers.held_model import keep_beside
from distill.workers.protocol import WorkerNeeds

if TYPE_CHECKING:
    from distill.retrieve.cross_encoder import CrossEncoderJudge


class LazyCrossEncoder:
    """Returns the open model when called. In a worker that it is sent to, it is the one that the
    worker keeps.

    Args:
        revision: of the model in the process that writes the run.
    """

    def __init__(
        self, reference: str, revision: str, max_tokens: int, device: str | None = None
    ) -> None:
        self._source = reference, revision, max_tokens, device
        self._judge: CrossEncoderJudge | None = None

    @classmethod
    def select(cls, settings: RankerSettings) -> "LazyCrossEncoder":
        """Select that of a recipe's rankers, which computes on the retriever's device."""
        reference = settings.rule.cross_encoder or ""
        revision = str(identify_revision(reference))
        tokens = settings.rule.cross_encoder_tokens
        return cls(reference, revision, tokens, settings.retriever.device)

    @property
    def needs(self) -> WorkerNeeds:
        """What a worker needs to run it."""
        return WorkerNeeds("encoder", self._source[3])

    def __call__(self) -> "CrossEncoderJudge":
        if self._judge is None:
            from distill.retrieve.cross_encoder import CrossEncoderJudge

            reference, revision, max_tokens, device = self._source
            self._judge = CrossEncoderJudge(reference, max_tokens, device)
            _check_revision(self._judge, reference, revision)
        return self._judge

    def close(self) -> None:
        """Free its memory."""
        from distill.runtime.devices import free_memory

        self._judge = None
        free_memory()

    def __reduce__(self) -> tuple[Any, ...]:
        return _keep_cross_encoder, self._source


def open_cross_encoder(settings: RankerSettings, cross_encoder: LazyCrossEncoder) -> RankingPass:
    """Open the pass of the cross-encoder, ready to judge.

    Raises:
        UserError: if the model cannot judge pairs.
    """
    judge = cross_encoder()
    mark = {"pass": "cross_encoder", **identify_pass("cross_encoder", settings)}
    return RankingPass(("cross_encoder",), mark, lambda requests: [judge.judge(requests)])


def _check_revision(judge: "CrossEncoderJudge", reference: str, revision: str) -> None:
    if str(judge.identity["revision"]) != revision:
        raise UserError(
            f"model {reference!r}",
            f"has other files on a worker (revision {judge.identity['revision']}) than in the "
            f"process that writes the run ({revision})",
            "have the same files on all machines",
        )


def _keep_cross_encoder(
    reference: str, revision: str, max_tokens: int, device: str | None
) -> LazyCrossEncoder:
    key = f"cross-encoder {reference} {revision} {max_tokens} {device}"
    return keep_beside(key, lambda: LazyCrossEncoder(reference, revision, max_tokens, device))
