"""Errors that end a job with a server: what happened, and which setting helps."""

from typing import Any

from distill.errors import UserError
from distill.remote.faults import FatalFault, MalformedReply, TransientFault
from distill.remote.settings import ServerSettings

TLS = 0
"""The status of a fault before any reply: the two sides agree on no secure connection."""
_LASTING = ("CERTIFICATE_VERIFY_FAILED", "WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")


def find_tls_fault(reason: str) -> FatalFault | None:
    """Find the certificate or TLS fault behind a failed connection, which a retry cannot help."""
    return FatalFault(TLS, reason) if any(word in reason for word in _LASTING) else None


def explain_giving_up(
    url: str,
    model: str,
    settings: ServerSettings,
    fault: TransientFault,
    tries: int,
    too_patient: bool,
) -> UserError:
    """Make the error for a fault that outlasted all retries.

    Args:
        too_patient: the server asks for a longer pause than a job waits.
    """
    key = settings.name_key
    keys = ", ".join(key(name) for name in ("concurrency", "timeout", "retries"))
    remedy = (
        "once the server is well, the same command continues: every reply so far is kept; "
        f"{keys} say how it is asked"
    )
    if too_patient:
        what = f"asks for a pause of {(fault.wait or 0) / 60:.0f} minutes ({fault.reason})"
    elif isinstance(fault, MalformedReply):
        what = f"gave no usable reply for model {model!r} in {tries} tries: {fault.reason}"
        remedy = (
            f"check that {key('base_url')} is the address of an OpenAI-compatible API (it mostly "
            "ends in /v1) and that the server's version has this endpoint; then the same command "
            "continues"
        )
    elif fault.status is None:
        what = f"did not answer for model {model!r} in {tries} tries ({fault.reason})"
    else:
        what = f"failed for model {model!r} in {tries} tries ({fault.reason})"
    return UserError(url, what, remedy)


def explain_ending(
    url: str,
    model: str,
    settings: ServerSettings,
    fault: FatalFault,
    has_key: bool,
    served: str | None,
) -> UserError:
    """Make the error for a server that refuses all requests of the job.

    Args:
        served: the names of the models that the server has, where it says.
    """
    key, variable = settings.name_key, settings.api_key_variable
    if fault.status in (401, 403):
        complaint = "refuses the key in" if has_key else "wants a key, and there is none in"
        what = f"{complaint} {variable}, for model {model!r} ({fault.reason})"
        remedy = (
            f"set {variable} to a key that may use this model ({key('api_key_variable')}; "
            f"{key('api_key_header')} is the header that it is sent in)"
        )
    elif fault.status == 404:
        what = f"does not serve model {model!r} here ({fault.reason})"
        remedy = f"check {key('model')}, and {key('base_url')}, which mostly ends in /v1"
        if served:
            remedy = f"set {key('model')} to one that it serves: {served}"
    elif fault.status == TLS:
        what = f"offers no secure connection that can be trusted ({fault.reason})"
        remedy = (
            f"set SSL_CERT_FILE to the certificate that signs the server's; or begin "
            f"{key('base_url')} with http:// if it speaks no TLS"
        )
    elif 300 <= fault.status < 400:
        what = f"is not where model {model!r} is served ({fault.reason})"
        remedy = f"set {key('base_url')} to the address itself: redirects are not followed"
    else:
        what = f"refuses model {model!r} ({fault.reason})"
        remedy = "fix what the server names; the same command continues"
    return UserError(url, what, remedy)


def list_names(models: Any, most: int = 8) -> str:
    """List the model names in a reply of `/models`; empty if there are none."""
    listed = models.get("data") if isinstance(models, dict) else None
    rows = listed if isinstance(listed, list) else []
    ids = [one.get("id") for one in rows if isinstance(one, dict)]
    return ", ".join([name for name in ids if isinstance(name, str)][:most])
