"""A fake server of embeddings."""

import pytest
from helpers.endpoint_encoder import reply_plainly, serve_form


@pytest.fixture
def server():
    with serve_form(reply_plainly) as server:
        yield server
