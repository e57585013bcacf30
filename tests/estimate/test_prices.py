"""A file of prices."""

import pytest

from distill.errors import UserError
from distill.estimate.amounts import Amount
from distill.estimate.prices import Prices


def prices(tmp_path, text: str) -> Prices:
    file = tmp_path / "prices.yaml"
    file.write_text(text)
    return Prices(file)


def test_prices_are_for_a_million_tokens(tmp_path):
    found = prices(tmp_path, "currency: USD\nmodels: {small: {input: 0.5, output: 2}}")
    cost = found.find("small").compute(Amount(2e6, 4e6), Amount(0, 1e6))
    assert cost == Amount(1.0, 4.0)
    assert found.currency == "USD"


@pytest.mark.bad_input("prices", "no price of the recipe's LLM", "refused, the key named")
def test_unknown_model_names_file_and_key(tmp_path):
    found = prices(tmp_path, "currency: USD\nmodels: {small: {input: 0.5, output: 2}}")
    with pytest.raises(UserError) as fault:
        found.find("other/model")
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
def test_faulty_file_names_the_key(tmp_path, text, said):
    with pytest.raises(UserError, match=r"prices\.yaml") as fault:
        prices(tmp_path, text)
    assert said in fault.value.what


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        Prices(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(
            text, says, id=name, marks=pytest.mark.bad_input("prices", name, f"refused: {says}")
        )
        for name, text, says in [
            ("nothing", "", "valid dictionary"),
            ("a price of .inf", "models: {m: {input: .inf, output: 1}}", "no finite number"),
            ("a price of .nan", "models: {m: {input: .nan, output: 1}}", "no finite number"),
            ("a price that is true", "models: {m: {input: true, output: 1}}", "true or false"),
            (
                "a price of 5,000 digits",
                f"models: {{m: {{input: {'9' * 5000}}}}}",
                "5000 characters",
            ),
            ("a number as model", "models: {4: {input: 1, output: 1}}", "the key '4' is no text"),
            ("a model twice", "models: {m: {}, m: {}}", "stands in row 1 already"),
            ("a list of models", "currency: USD\nmodels: [1]", "row 2.*models"),
            ("a date as currency", "currency: 2024-01-01\nmodels: {}", "quote it: '2024-01-01'"),
            ("a date that is none", "currency: 2024-13-01\nmodels: {}", "is no timestamp"),
        ]
    ],
)
def test_prices_that_are_refused(tmp_path, text, says):
    with pytest.raises(UserError, match=says) as fault:
        prices(tmp_path, text)
    assert "prices.yaml" in fault.value.where
