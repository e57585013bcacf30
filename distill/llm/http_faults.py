"""What a server's refusal means: it may pass, it is about one prompt, about one optional field, or
about the whole job."""

import json
import re
from collections.abc import Collection
from typing import Any, NamedTuple

from distill.http_server import retry_after

OPTIONAL_FIELDS = (
    "structured_outputs",
    "guided_regex",
    "regex",
    "response_format",
    "seed",
    "stop",
    "n",
    "top_p",
    "temperature",
    "logprobs",
    "top_logprobs",
    "max_tokens",
)
"""Fields that a server may not know. `max_tokens` is not left out but renamed."""

_PASSING = {408, 409, 425, 429}
_OVERLOADED = {408, 429, 502, 503, 504, 529}
_ABOUT_THE_PROMPT = {400, 413, 422}
_NO_SUCH_FIELD = re.compile(
    r"un(known|recogni[sz]ed|expected|supported)"
    r"|not (currently |yet )?(supported|permitted|allowed)"
    r"|does(n't| not) support|extra (inputs|fields)|extra_forbidden|invalid (field|argument)"
    r"|only the default|must be (set to )?1\b",
    re.IGNORECASE,
)
_TOO_LONG = re.compile(r"context (length|window|size)|too (long|large|many tokens)", re.IGNORECASE)
_NO_SUCH_MODEL = re.compile(
    r"does not exist|not found|not available|(unknown|invalid|no such) model|not a valid model",
    re.IGNORECASE,
)
_LONGEST_MESSAGE = 300


class Passing(Exception):
    """A fault that may pass. `status` is None where there was no whole reply; `wait` are the
    seconds for which the server asks to be left alone."""

    def __init__(
        self,
        reason: str,
        status: int | None = None,
        overloaded: bool = False,
        wait: float | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.overloaded = overloaded
        self.wait = wait


class Refused(Exception):
    """This prompt is refused, and would be again."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class UnknownField(Exception):
    """The server does not take this optional field."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field
        self.reason = reason


class Fatal(Exception):
    """Nothing that is asked of this server will be answered."""

    def __init__(self, status: int, reason: str, no_such_model: bool = False) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.no_such_model = no_such_model


class Said(NamedTuple):
    """The parts of an error's body."""

    message: str
    code: str
    param: str


def read_error(body: str) -> Said:
    """What the body of an error says, in any of the forms that servers use."""
    try:
        parsed = json.loads(body)
    except ValueError:
        return Said(_shortened(body), "", "")
    error = parsed.get("error", parsed) if isinstance(parsed, dict) else parsed
    if not isinstance(error, dict):
        return Said(_shortened(error), "", "")
    message = error.get("message") or error.get("detail") or error
    return Said(_shortened(message), str(error.get("code", "")), str(error.get("param") or ""))


def refusal(status: int, headers: Any, body: str, sent: dict[str, Any]) -> Exception:
    """The exception that a reply with an error's status stands for.

    Args:
        headers: the reply's headers (a case-insensitive mapping).
        sent: the body of the request.
    """
    said = read_error(body)
    reason = f"{status}: {said.message}" if said.message else str(status)
    if said.code == "insufficient_quota" or status == 501:
        return Fatal(status, reason)
    if status in _PASSING or status >= 500:
        wait = retry_after(headers.get("retry-after"))
        return Passing(reason, status, overloaded=status in _OVERLOADED, wait=wait)
    if (status == 404 or status in _ABOUT_THE_PROMPT) and names_no_model(said, sent["model"]):
        return Fatal(404, reason, no_such_model=True)
    if status not in _ABOUT_THE_PROMPT:
        return Fatal(status, reason)
    field = unknown_field(said, sent)
    return UnknownField(field, reason) if field else Refused(reason)


def unknown_field(said: Said, sent: Collection[str]) -> str | None:
    """The optional field among those sent that the error is about, if it is about one."""
    about_it = _NO_SUCH_FIELD.search(said.message)
    if not about_it or _TOO_LONG.search(said.message):
        return None
    there = [field for field in OPTIONAL_FIELDS if field in sent]
    for field in there:
        if said.param == field:
            return field
    for field in there:
        if re.search(rf"(?<![\w.]){field}(?!\w)", said.message):
            return field
    return None


def names_no_model(said: Said, model: str) -> bool:
    """Whether the error is that the server has no such model. The message must name the model: a
    server may quote the prompt, which says anything."""
    return said.code == "model_not_found" or (
        model in said.message and bool(_NO_SUCH_MODEL.search(said.message))
    )


def _shortened(message: Any) -> str:
    text = message if isinstance(message, str) else json.dumps(message)
    text = " ".join(text.encode(errors="replace").decode().split())
    return text if len(text) <= _LONGEST_MESSAGE else text[: _LONGEST_MESSAGE - 3] + "..."
