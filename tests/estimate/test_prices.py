"""A file of prices."""

import pytest

from distill.errors import UserError
from distill.estimate import Amount, Prices


def prices(tmp_path, text: str) -> Prices:
    file = tmp_path / "prices.yaml"
    file.write_text(text)
    return Prices(file)


def test_prices_are_for_a_million_tokens(tmp_path):
    found = prices(tmp_path, "currency: USD\nmodels: {small: {input: 0.5, output: 2}}")
    cost = found.of("small").of(Amount(2e6, 4e6), Amount(0, 1e6))
    assert cost == Amount(1.0, 4.0)
    assert found.currency == "USD"


def test_an_unknown_model_names_file_and_key(tmp_path):
    found = prices(tmp_path, "currency: USD\nmodels: {small: {input: 0.5, output: 2}}")
    with pytest.raises(UserError) as fault:
        found.of("other/model")
    assert fault.value.where == str(tmp_path / "prices.yaml")
    assert "models.other/model" in fault.value.what


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("currency: USD", "models"),
        ("models: {small: {input: 1, output: 2}}", "currency"),
        ("currency: USD\nmodels: {small: {input: -1, output: 2}}", "models.small.input"),
        ("currency: USD\nmodels: {small: {input: much, output: 2}}", "models.small.input"),
        ("currency: USD\nmodels: {small: {input: 1}}", "models.small.output"),
        ("currency: USD\nmodels: {small: {input: 1, output: 2, cached: 1}}", "models.small.cached"),
        ("a: [", "is not YAML"),
        ("just words", "the file"),
    ],
)
def test_a_faulty_file_names_the_key(tmp_path, text, said):
    with pytest.raises(UserError, match=r"prices\.yaml") as fault:
        prices(tmp_path, text)
    assert said in fault.value.what


def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        Prices(tmp_path / "absent.yaml")
