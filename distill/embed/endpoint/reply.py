"""Read the vectors in a reply of `/embeddings`, in any of the forms that servers use.

OpenAI numbers each vector; Google leaves the number 0 out, as its protocol does with every zero;
others number none. Some write base64 whatever was asked.
"""

import base64
import binascii
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill.remote.faults import MalformedReply


def read_vectors(reply: Any, count: int) -> NDArray[np.float64]:
    """Read the vectors in the order of the texts, (count, dimensions).

    Raises:
        MalformedReply: unless there are `count` lists of numbers, of one length, each for another
            text.
    """
    items = reply.get("data") if isinstance(reply, dict) else None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise MalformedReply("a reply without a list of embeddings in `data`")
    if len(items) != count:
        raise MalformedReply(f"{len(items)} embeddings for {count} texts", whole=True)
    places = _assign_places([item.get("index") for item in items])
    vectors = [_read_vector(item.get("embedding")) for item in items]
    widths = sorted({len(vector) for vector in vectors})
    if len(widths) > 1:
        raise MalformedReply(f"embeddings of {widths[0]} and of {widths[-1]} numbers", whole=True)
    array = np.empty((count, widths[0]), np.float64)
    array[places] = vectors
    return array


def _assign_places(indexes: list[Any]) -> list[int]:
    """Assign items to texts: by their number; items without one fill the remaining places in order.
    Usually these are their own places."""
    numbers = [_read_number(index) for index in indexes]
    numbered = [number for number in numbers if number is not None]
    left = sorted(set(range(len(numbers))) - {*numbered})
    if len(left) != len(numbers) - len(numbered):
        few = ", ".join(str(number)[:12] for number in numbered[:4])
        raise MalformedReply(f"embeddings numbered {few}, ... for {len(numbers)} texts", whole=True)
    rest = iter(left)
    return [next(rest) if number is None else number for number in numbers]


def _read_number(index: Any) -> int | None:
    if index is None:
        return None
    if isinstance(index, str) and index.isascii() and index.isdigit() and len(index) < 10:
        return int(index)
    if isinstance(index, bool) or not isinstance(index, int):
        raise MalformedReply(f"an embedding numbered {str(index)[:20]!r}", whole=True)
    return index


def _read_vector(value: Any) -> NDArray[np.float64]:
    if isinstance(value, str):
        return _decode(value)
    if not isinstance(value, list) or not value:
        raise MalformedReply("an embedding that is no list of numbers", whole=True)
    kinds = set(map(type, value))
    if list in kinds:
        raise MalformedReply(
            "embeddings that are lists of lists: a vector for each token, not one for each text",
            whole=True,
        )
    if not kinds <= {int, float}:
        raise MalformedReply("an embedding that holds what is no number", whole=True)
    try:
        return np.asarray(value, np.float64)
    except OverflowError:
        return np.full(len(value), math.inf)


def _decode(text: str) -> NDArray[np.float64]:
    """Decode OpenAI's other form: base64 of little-endian float32."""
    try:
        packed = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        packed = b""
    if not packed or len(packed) % 4:
        raise MalformedReply(
            "an embedding that is neither numbers nor base64 of float32", whole=True
        )
    return np.frombuffer(packed, "<f4").astype(np.float64)
