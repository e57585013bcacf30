"""Grades in words, where a server gives no log-probabilities."""

from distill.llm.prompts import load_prompt
from distill.llm.protocol import Completion
from distill.recipe.packaged import packaged_recipes
from distill.relabel.rankers.word_grade import judge_by_grade


class Grader:
    """Replies as chat models do: with a number, a sentence, or beside the point."""

    def __init__(self, replies):
        self.replies = replies
        self.prompts = []

    def generate(self, prompts, seeds, sampling):
        self.prompts += prompts
        return [Completion(reply, True) for reply in self.replies]


def test_each_pair_gets_the_grade_of_its_own_reply():
    prompt = load_prompt("prompts/grade.jinja", packaged_recipes(), parts=1)
    llm = Grader(["7", "Grade: 3/10", "I cannot say."])
    requests = [("Bees dance.", ["why bees dance", "what bees eat"]), ("Ice.", ["is ice cold"])]
    found = judge_by_grade(llm, prompt, requests, chat=True)
    assert found == [[(7.0, 0), (3.0, 0)], [(0.0, 0)]]
    assert [p.count("Bees dance.") for p in llm.prompts] == [1, 1, 0]
    assert "what bees eat" in llm.prompts[1]
