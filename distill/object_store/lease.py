"""The lease of a store: of all jobs that would write one, the one whose name stands in it does."""

import json
import logging
import os
import socket
import threading
import time
from datetime import UTC, datetime
from uuid import uuid4

from distill.errors import UserError
from distill.object_store.objects import (
    ObjectChangedError,
    ObjectFolder,
    StoredObject,
    StoredVersion,
    StoreFault,
)
from distill.runtime.progress import show_activity

LEASE_NAME = ".lease.json"
RENEWED_EVERY = 60.0
"""Seconds."""
TAKEN_OVER_AFTER = 600.0
"""Seconds without renewal."""
_POLLED_EVERY = 5.0
_logger = logging.getLogger(__name__)


class Lease:
    """The right to write a store, held until `release`, and renewed meanwhile by a thread of its
    own. It is created only where there is none, and replaced only by its etag, so that of two jobs
    one always loses.

    Args:
        run_id: names the run's folder. The lease of a job that was killed in the same folder, which
            only one process at a time can write, is taken over at once.

    Raises:
        UserError: if another job holds the lease, and renews it.
    """

    def __init__(self, objects: ObjectFolder, run_id: str) -> None:
        self._objects = objects
        self._run_id = run_id
        self._session = uuid4().hex
        self._lost = False
        self._version = self._acquire()
        self._renewed = time.monotonic()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        threading.Thread(target=self._renew_regularly, daemon=True).start()

    def check(self) -> None:
        """Make sure that the lease is still held, before something is written.

        Raises:
            UserError: if another job has taken it over.
        """
        if not self._lost and time.monotonic() - self._renewed > TAKEN_OVER_AFTER * 0.8:
            self._renew()  # this process slept, or the store was away
        if self._lost:
            raise UserError(
                str(self._objects.address),
                "was taken over by another job, as this one had not renewed its lease for "
                f"{TAKEN_OVER_AFTER / 60:.0f} minutes",
                "let that job end the run; what is done here is in the run's folder, and is copied "
                "to the store when the same command begins again after it",
            )

    def release(self) -> None:
        """Give the lease back, if it is still held."""
        self._ended.set()
        with self._lock:
            if not self._lost:
                try:
                    self._objects.replace(
                        LEASE_NAME, self._make_content(released=True), self._version
                    )
                except (ObjectChangedError, StoreFault):
                    return

    def _acquire(self) -> StoredVersion:
        try:
            return self._objects.create(LEASE_NAME, self._make_content())
        except ObjectChangedError:
            pass
        with show_activity(f"looking who writes {self._objects.address}"):
            return self._take_over()

    def _take_over(self) -> StoredVersion:
        """Wait until the lease is free: released, of the same folder, or not renewed any more. That
        takes as long as somebody who lives would need to renew it.

        Raises:
            UserError: as soon as it is renewed.
        """
        first: str | None = None
        while True:
            read = self._objects.read(LEASE_NAME)
            if read is None:
                return self._acquire()
            content, stored = _parse(read[0]), read[1]
            free = content.get("released") or content.get("run") == self._run_id
            idle = (datetime.now(UTC) - stored.modified).total_seconds()
            if free or idle > TAKEN_OVER_AFTER:
                try:
                    version = StoredVersion(stored.etag, stored.version)
                    return self._objects.replace(LEASE_NAME, self._make_content(), version)
                except ObjectChangedError:
                    continue  # somebody was faster
            if first not in (None, stored.etag):
                raise self._explain_other_job(content, stored)
            if first is None:
                _logger.info(
                    "%s: process %s on %s renewed its lease %.0f s ago: waiting until it does so "
                    "again, or the lease is %.0f s old",
                    self._objects.address,
                    content.get("process"),
                    content.get("host"),
                    idle,
                    TAKEN_OVER_AFTER,
                )
            first = stored.etag
            time.sleep(min(_POLLED_EVERY, RENEWED_EVERY / 10))

    def _explain_other_job(self, content: dict[str, object], stored: StoredObject) -> UserError:
        return UserError(
            str(self._objects.address),
            f"is written by another job: process {content.get('process')} on "
            f"{content.get('host')}, which renewed its lease at {stored.modified:%H:%M:%S} UTC",
            "wait for it to end, or name another prefix with --set store=...; the store of a job "
            f"that died is free {TAKEN_OVER_AFTER / 60:.0f} minutes after its last renewal",
        )

    def _make_content(self, released: bool = False) -> bytes:
        content = {
            "host": socket.gethostname(),
            "process": os.getpid(),
            "run": self._run_id,
            "session": self._session,
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "released": released,
        }
        return json.dumps(content).encode()

    def _renew_regularly(self) -> None:
        while not self._ended.wait(RENEWED_EVERY):
            try:
                self._renew()
            except StoreFault:
                continue  # uploads say so

    def _renew(self) -> None:
        with self._lock:
            if self._lost or self._ended.is_set():
                return
            try:
                self._version = self._objects.replace(
                    LEASE_NAME, self._make_content(), self._version
                )
            except ObjectChangedError:
                self._look_up_owner()
            if not self._lost:
                self._renewed = time.monotonic()

    def _look_up_owner(self) -> None:
        """Look whose the lease is: a renewal may have arrived though its answer was lost, and then
        it is still ours."""
        read = self._objects.read(LEASE_NAME)
        if read is not None and _parse(read[0]).get("session") == self._session:
            self._version = StoredVersion(read[1].etag, read[1].version)
        else:
            self._lost = True


def _parse(data: bytes) -> dict[str, object]:
    try:
        content = json.loads(data)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
