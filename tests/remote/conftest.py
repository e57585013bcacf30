"""A server that misbehaves as told, and an engine before it."""

from helpers.http_engine import make, server

__all__ = ["make", "server"]
