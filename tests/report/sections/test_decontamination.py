"""What the report says of overlap with the evaluation."""

from distill.report.sections.decontamination import describe_decontamination


def test_overlap_of_training_texts_that_are_no_queries_is_reported():
    found = {"learnt from by": ["align", "titles"], "passages": 3000, "run of words": 8}
    found |= {"that hold an evaluation query": 19}
    found |= {"that share words with an evaluation document": 165}
    (told,) = describe_decontamination({"evaluation": {"figures": {"unlabelled": found}}})
    assert "without a query (align and titles) are not held against the evaluation" in told
    assert "3000 passages 19 hold words of an evaluation query, and 165 share" in told


def test_evaluation_that_counted_no_overlap_is_not_reported():
    assert describe_decontamination({"evaluation": {"figures": {}}}) == []
