"""Read an API's prices of tokens from a file of the user's own: prices change, and none is built
in.

    currency: USD
    models:
      some-model: {input: 0.15, output: 0.60}    # per million tokens
"""

from pathlib import Path

from pydantic import Field, ValidationError

from distill.errors import UserError
from distill.estimate.amounts import Amount
from distill.files.read import read_text
from distill.files.read_yaml import parse_yaml
from distill.recipe.explain import RecipeText, explain_faults
from distill.recipe.sections.section import Section

_FORM = "write `currency: USD` and, below `models:`, `MODEL: {input: 0.15, output: 0.60}`"


class Price(Section):
    """Prices in the file's currency, for a million tokens."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)

    def compute(self, prompt_tokens: Amount, new_tokens: Amount) -> Amount:
        """Compute the price of these tokens, in the file's currency."""
        return prompt_tokens.multiply(self.input / 1e6) + new_tokens.multiply(self.output / 1e6)


class _PriceFile(Section):
    currency: str = Field(min_length=1)
    models: dict[str, Price]


class Prices:
    """A file of prices.

    Raises:
        UserError: naming the file and the key, if it is not one.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        text = read_text(file, _FORM)
        values = parse_yaml(text, str(file), _FORM)
        try:
            prices = _PriceFile.model_validate(values)
        except ValidationError as fault:
            raise UserError(*explain_faults(fault, RecipeText(str(file), text)), _FORM) from fault
        self.currency = prices.currency
        self._models = prices.models

    def find(self, model: str) -> Price:
        """Return the price of `model`.

        Raises:
            UserError: if the file does not name it.
        """
        if model not in self._models:
            raise UserError(
                str(self.file),
                f"has no price of the recipe's LLM: models.{model} is missing",
                f"add `{model}: {{input: ..., output: ...}}` below models:, per million tokens",
            )
        return self._models[model]
