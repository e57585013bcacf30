"""What the report says of overlap with the evaluation."""

from distill.report.sections.decontamination import describe_decontamination


def test_overlap_of_what_is_learnt_from_without_queries_is_told():
    found = {"learnt from by": ["align", "titles"], "passages": 3000, "run of words": 8}
    found |= {"that hold an evaluation query": 19}
    found |= {"that share words with an evaluation document": 165}
    (told,) = describe_decontamination({"evaluation": {"figures": {"unlabelled": found}}})
    assert "without a query (align and titles) are not held against the evaluation" in told
    assert "3000 passages 19 hold words of an evaluation query, and 165 share" in told


def test_nothing_is_told_of_an_evaluation_that_counted_none():
    assert describe_decontamination({"evaluation": {"figures": {}}}) == []
