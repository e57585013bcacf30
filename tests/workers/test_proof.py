"""A worker proves that it is the same program and reads the same folder."""

import pytest

from distill.errors import UserError
from distill.workers.proof import prove, write_proof_request


def test_worker_of_the_same_program_on_the_same_folder_is_taken(tmp_path):
    assert prove(write_proof_request(tmp_path), "n1").node == "n1"


@pytest.mark.bad_input("cluster", "a node without the run's folder", "refused, the node named")
def test_node_without_the_folder_is_refused(tmp_path):
    request = write_proof_request(tmp_path)
    with pytest.raises(UserError) as refused:
        prove(request._replace(folder=tmp_path / "elsewhere"), "n1")
    assert refused.value.where == "node n1"
    assert "elsewhere" in refused.value.what
    write_proof_request(tmp_path)  # another folder's word at the same path
    with pytest.raises(UserError, match="does not see"):
        prove(request, "n1")


@pytest.mark.bad_input("cluster", "a node with other versions", "refused, node and versions named")
def test_node_with_other_versions_is_refused(tmp_path):
    request = write_proof_request(tmp_path)
    other = request._replace(versions=request.versions | {"torch": "1.0"}, source="0" * 16)
    with pytest.raises(UserError) as refused:
        prove(other, "n1")
    assert "torch" in refused.value.what
    assert "instead of 1.0" in refused.value.what
    assert "distill's code" in refused.value.what
