"""What an API asks for its tokens, from a file of the user's own: prices change, and none is built
in.

    currency: USD
    models:
      some-model: {input: 0.15, output: 0.60}    # per million tokens
"""

from pathlib import Path

import yaml
from pydantic import Field, ValidationError

from distill.errors import UserError
from distill.estimate.figures import Amount
from distill.recipe.section import Section

_FORM = "write `currency: USD` and, below `models:`, `MODEL: {input: 0.15, output: 0.60}`"


class Price(Section):
    """Per million tokens."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)

    def of(self, prompt_tokens: Amount, new_tokens: Amount) -> Amount:
        return prompt_tokens.times(self.input / 1e6) + new_tokens.times(self.output / 1e6)


class _File(Section):
    currency: str = Field(min_length=1)
    models: dict[str, Price]


class Prices:
    """A file of prices.

    Raises:
        UserError: naming the file and the key, if it is not one.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        if not file.is_file():
            raise UserError(str(file), "no such file of prices", _FORM)
        try:
            values = yaml.safe_load(file.read_text(encoding="utf-8"))
            found = _File.model_validate(values)
        except (yaml.YAMLError, UnicodeDecodeError) as fault:
            raise UserError(str(file), f"is not YAML: {fault}", _FORM) from fault
        except ValidationError as fault:
            raise UserError(str(file), _readable(fault), _FORM) from fault
        self.currency = found.currency
        self._models = found.models

    def of(self, model: str) -> Price:
        """What `model` costs.

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


def _readable(fault: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(str(part) for part in error['loc']) or 'the file'}: {error['msg']}"
        for error in fault.errors()
    )
