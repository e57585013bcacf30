"""Classify a server's refusal: it may pass, or it is about one prompt, one optional field, or the
whole job."""

import json
import re
from collections.abc import Collection
from typing import Any, NamedTuple

from distill.errors import DistillError
from distill.remote.address import parse_retry_after
from distill.remote.reply import InvalidBody, parse_json, shorten_text

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
    "encoding_format",
)
"""Fields that a server may not know. `max_tokens` is not left out but renamed."""
NEW_NAMES = {"max_tokens": "max_completion_tokens"}

_PASSING = {408, 409, 425, 429}
_SITE_OVERLOADED = 529
_OVERLOADED = {408, 429, 502, 503, 504, _SITE_OVERLOADED}
_ABOUT_THE_PROMPT = {400, 413, 422}
_NO_SUCH_FIELD = re.compile(
    r"un(known|recogni[sz]ed|expected|supported)"
    r"|not (currently |yet )?(supported|permitted|allowed)"
    r"|does(n't| not) support|extra (inputs|fields)|extra_forbidden|invalid (field|argument)"
    r"|only the default|must be (set to )?1\b",
    re.IGNORECASE,
)
_TOO_LONG = re.compile(
    r"context[ _](length|window|size)|too (long|large|many tokens)|exceed|token limit"
    r"|(less|fewer|more|longer|greater|larger) than|at most|max(imum|imal)?\b.{0,40}\b"
    r"(length|tokens|inputs?|sequence|characters|size)\b",
    re.IGNORECASE,
)
_REQUEST_TOO_LARGE = re.compile(r"request too large", re.IGNORECASE)
"""In a 429 that no pause helps: the request alone is more than the server allows a minute."""
_FLAGGED = re.compile(
    r"\b(input|prompt|content|message|text)\b.{0,40}\b(flagged|violat\w*)|moderation",
    re.IGNORECASE,
)
"""In a 403 that is about a prompt's content, and not about the key."""
_ABOUT_LENGTH = re.compile(
    r"context (length|window|size)|too (long|large|many tokens)", re.IGNORECASE
)
_WORD = re.compile(r"[a-z_]+")
_ERROR_STATUS = re.compile(r"[45][0-9]{2}")
_NO_SUCH_MODEL = re.compile(
    r"does not exist|not found|not available|(unknown|invalid|no such) model|not a valid model",
    re.IGNORECASE,
)


class TransientFault(DistillError):
    """A fault that may pass. `status` is None if there was no whole reply; `wait` is the number of
    seconds of the server's Retry-After."""

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

    @property
    def may_be_of_one_prompt(self) -> bool:
        """Whether a prompt alone may cause it, such as by ending the server's process behind a
        gateway; a limit on all requests (408, 429, 529) is no prompt's."""
        return self.status not in (200, *_PASSING, _SITE_OVERLOADED)


class MalformedReply(TransientFault):
    """A reply of status 200 without the expected content: by accident, or always from this server.

    Args:
        whole: it is a whole reply in a form of its own, such as another numbering, and no wreck.
    """

    def __init__(self, reason: str, whole: bool = False) -> None:
        super().__init__(reason, 200)
        self.whole = whole


ServerReply = dict[str, Any]
"""A reply's JSON object; `choices` is a list that holds something."""


def read_completion(reply: Any) -> ServerReply:
    """Read the choices of a reply to a prompt.

    Raises:
        MalformedReply: if it is no object with `choices`, each with a text or a message.
    """
    choices = reply.get("choices") if isinstance(reply, dict) else None
    if not isinstance(choices, list) or not choices:
        raise MalformedReply("a reply without choices")
    if not all(isinstance(one, dict) and ("text" in one or "message" in one) for one in choices):
        raise MalformedReply("a reply whose choices have neither text nor message")
    return dict(reply)


class RefusedPrompt(DistillError):
    """The server refuses this prompt, and would refuse it again. `status` is None if a probe's
    request, not a prompt, was refused."""

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status

    @property
    def too_long(self) -> bool:
        """Whether the length of a text, or of all texts of the request, is the reason."""
        return self.status == 413 or bool(_TOO_LONG.search(self.reason))


class UnknownField(DistillError):
    """The server does not take this optional field."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field
        self.reason = reason


class FatalFault(DistillError):
    """The server refuses every request, such as by a wrong key or model name."""

    def __init__(self, status: int, reason: str, no_such_model: bool = False) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.no_such_model = no_such_model


class ErrorBody(NamedTuple):
    """The parts of an error's body."""

    message: str
    code: str
    param: str


def read_error(body: str) -> ErrorBody:
    """Read the body of an error in any of the forms that servers use; else its beginning is the
    message."""
    try:
        return _read_error_body(parse_json(body))
    except (InvalidBody, RecursionError, ValueError):
        return ErrorBody(shorten_text(body), "", "")


def _read_error_body(parsed: Any) -> ErrorBody:
    error = parsed.get("error", parsed) if isinstance(parsed, dict) else parsed
    if not isinstance(error, dict):
        return ErrorBody(_shorten(error), "", "")
    message = error.get("message") or error.get("detail") or error
    code, param = error.get("code"), error.get("param")
    return ErrorBody(_shorten(message), _read_word(code), _read_word(param))


def find_error_status(parsed: Any) -> int | None:
    """Return the status of an error that some gateways send within a reply of status 200; None if
    it is no error."""
    error = parsed.get("error") if isinstance(parsed, dict) else None
    code = _read_word(error.get("code")) if isinstance(error, dict) else ""
    return int(code) if _ERROR_STATUS.fullmatch(code) else None


def make_refusal(status: int, headers: Any, body: str, sent: dict[str, Any]) -> Exception:
    """Make the exception that a reply with an error status stands for.

    Args:
        headers: the reply's headers (a case-insensitive mapping).
        sent: the body of the request.
    """
    error = read_error(body)
    reason = f"{status}: {error.message}" if error.message else str(status)
    if error.code == "insufficient_quota" or status == 501:
        return FatalFault(status, reason)
    own = {403: _FLAGGED, 429: _REQUEST_TOO_LARGE}.get(status)
    if own and own.search(error.message):
        return RefusedPrompt(reason, status)
    if status in _PASSING or status >= 500:
        wait = parse_retry_after(headers.get("retry-after"))
        return TransientFault(reason, status, overloaded=status in _OVERLOADED, wait=wait)
    if (status == 404 or status in _ABOUT_THE_PROMPT) and is_unknown_model(error, sent["model"]):
        return FatalFault(404, reason, no_such_model=True)
    if status not in _ABOUT_THE_PROMPT:
        return FatalFault(status, reason)
    field = find_unknown_field(error, sent)
    return UnknownField(field, reason) if field else RefusedPrompt(reason, status)


def select_known_fields(body: dict[str, Any], left_out: Collection[str]) -> dict[str, Any]:
    """Return the body without the fields that its server does not know, or with their new names."""
    if not left_out:
        return body
    names = {field: NEW_NAMES.get(field) for field in left_out}
    known = {field: value for field, value in body.items() if field not in names}
    known.update({new: body[field] for field, new in names.items() if new and field in body})
    return known


def find_unknown_field(error: ErrorBody, sent: Collection[str]) -> str | None:
    """Return the optional field of the request that the error is about, if any."""
    # No text is refused for the way in which its vector is to be written.
    if "encoding_format" in {error.param, *_WORD.findall(error.message)} & {*sent}:
        return "encoding_format"
    about_it = _NO_SUCH_FIELD.search(error.message)
    if not about_it or _ABOUT_LENGTH.search(error.message):
        return None
    there = [field for field in OPTIONAL_FIELDS if field in sent]
    for field in there:
        if error.param == field:
            return field
    for field in there:
        if re.search(rf"(?<![\w.]){field}(?!\w)", error.message):
            return field
    return None


def is_unknown_model(error: ErrorBody, model: str) -> bool:
    """Return whether the error says that the server has no such model. The message must name the
    model: a server may quote the prompt, which can say anything."""
    return error.code == "model_not_found" or (
        model in error.message and bool(_NO_SUCH_MODEL.search(error.message))
    )


def _shorten(message: Any) -> str:
    return shorten_text(message if isinstance(message, str) else json.dumps(message))


def _read_word(value: Any) -> str:
    return str(value) if isinstance(value, str | int) else ""
