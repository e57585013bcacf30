"""Whose vectors the document route of a saved query encoder gives: those of its teacher, which a
run that takes the query encoder as its own teacher need not compute again."""

import logging
from pathlib import Path

from distill.embed.encoder import EncoderIdentity
from distill.errors import UserError
from distill.files.atomic import read_json, write_json
from distill.models.reference import identify_revision

_LOG = logging.getLogger(__name__)
_FILE = "documents.json"
_NAMES = {"model", "revision"}
"""Keys of an identity by which the route and its teacher differ, though their vectors are equal."""


def note_document_encoder(folder: Path, identity: EncoderIdentity) -> None:
    """Write into a saved model's folder which encoder its document route is.

    Args:
        folder: a sentence-transformers Router with both routes.
        identity: of the encoder as it was opened.
    """
    write_json(folder / _FILE, {"encoder": identity, "route": _identify_route(folder)})


def find_document_encoder(folder: Path, opened: EncoderIdentity) -> EncoderIdentity | None:
    """Find the identity of the encoder whose vectors of documents a model gives, beside its own.

    Args:
        folder: the model's files.
        opened: the model's own identity.

    Returns:
        None if nothing is noted, if the route's files have changed since, or if the model was
        opened with another length or number type than that encoder.
    """
    if not (folder / _FILE).is_file():
        return None
    try:
        noted = read_json(folder / _FILE)
        encoder: EncoderIdentity = dict(noted["encoder"])
        unchanged = noted["route"] == _identify_route(folder)
    except (UserError, KeyError, TypeError, ValueError) as fault:
        _LOG.warning("%s is not used: %s", folder / _FILE, fault)
        return None
    return encoder if unchanged and _leave_names_out(encoder) == _leave_names_out(opened) else None


def _leave_names_out(identity: EncoderIdentity) -> EncoderIdentity:
    return {key: value for key, value in identity.items() if key not in _NAMES}


def _identify_route(folder: Path) -> list[str]:
    """Identify the content of the document route's modules, in their order."""
    modules = read_json(folder / "router_config.json")["structure"]["document"]
    places = [folder / name for name in modules]
    return [identify_revision(str(place)) if place.is_dir() else place.name for place in places]
