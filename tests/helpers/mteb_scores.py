"""mteb without its scores of abstention: a fifth of what a whole run with tiny models computes, and
distill reads none of them."""

import sys
from typing import Any


def skip_abstention() -> None:
    """Leave them out from here on, where mteb is imported already."""
    metrics: Any = sys.modules.get("mteb._evaluators.retrieval_metrics")
    if metrics is not None:
        metrics.evaluate_abstention = lambda results, metric_scores: {}
