"""`distill check` of a served LLM whose likelihoods a recipe needs."""

import pytest
from helpers.fake_server import MODEL, TinyModel, reply_with_error, serve

from distill.recipe import load_recipe
from distill.start.check import check_recipe


@pytest.mark.bad_input(
    "server", "one without log-probabilities of prompts, for `ql`", "refused by `distill check`"
)
@pytest.mark.parametrize("echo", [True, False])
def test_server_without_likelihoods_is_refused_before_anything_is_written(
    recipe_file, tmp_path, llm_folder, echo
):
    with serve(TinyModel(llm_folder, echo)) as server:
        sets = ["llm.engine=http", f"llm.base_url={server.url}", f"llm.model={MODEL}"]
        recipe = load_recipe(recipe_file, [*sets, "relabel.rankers=[ql, retriever]"])
        said = [str(fault) for fault in check_recipe(recipe, tmp_path / "run").faults]
    assert not any(request.body.get("max_tokens", 0) > 1 for request in server.seen)
    if echo:
        assert said == []
    else:
        assert "gives no log-probabilities" in said[0]
        assert "relabel.rankers ql needs" in said[0]
        assert "relabel.rankers: [rc, retriever]" in said[0]


@pytest.mark.bad_input(
    "server", "one too busy to be asked for likelihoods", "a notice: a run waits for it"
)
def test_server_that_is_busy_is_a_notice(recipe_file, tmp_path):
    with serve() as server:
        server.rule = lambda body: reply_with_error(503, "too many requests at once")
        sets = ["llm.engine=http", f"llm.base_url={server.url}", f"llm.model={MODEL}"]
        recipe = load_recipe(recipe_file, [*sets, "relabel.rankers=[ql, retriever]"])
        found = check_recipe(recipe, tmp_path / "run")
    assert found.faults == []
    (notice,) = [one for one in found.notices if "relabel.rankers ql" in one]
    assert "too many requests" in notice


def test_server_without_likelihoods_will_do_where_nothing_is_relabelled(
    recipe_file, tmp_path, llm_folder
):
    with serve(TinyModel(llm_folder, False)) as server:
        sets = ["llm.engine=http", f"llm.base_url={server.url}", f"llm.model={MODEL}"]
        recipe = load_recipe(recipe_file, [*sets, "generate.methods=[brainstorm]"])
        assert "ql" in recipe.relabel.rankers
        said = [str(fault) for fault in check_recipe(recipe, tmp_path / "run").faults]
    assert not any("log-probabilities" in fault for fault in said)
