"""What the judged pool says, in words."""

import pytest

from distill.evaluate.judged.results import JudgedResults, SystemFigures
from distill.report.judged import describe_judged


@pytest.mark.parametrize(
    ("judge", "named"),
    [
        (
            "wheel:llm-x==0.1/llm_x/Small.gguf#sha256=bcc8",
            "of which Small.gguf judged 160 passages",
        ),
        ("Qwen/Qwen2.5-7B-Instruct", "of which Qwen/Qwen2.5-7B-Instruct judged 160 passages"),
    ],
)
def test_judge_is_named_without_the_checksum_of_its_wheel(judge, named):
    systems = {
        "student": SystemFigures(0.5, 0.4, 1.0, 0.0),
        "base": SystemFigures(0.4, 0.3, 0.9, 0.0),
    }
    words = describe_judged(JudgedResults(judge, 20, 160, systems, "base", 0, None, None))
    assert named in words
    assert "sha256" not in words
