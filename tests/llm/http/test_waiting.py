"""How long a client waits before it sends a request again: each time twice as long, as it says
itself where it does, and never by all at the same moment."""

import asyncio
import random
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import count, pairwise

import pytest
from helpers.fake_server import MODEL, derive_text, reply_with_error, serve

from distill.errors import UserError
from distill.llm import Completion, Sampling
from distill.llm.http.engine import HTTPEngine
from distill.recipe import LanguageModel
from distill.remote.address import parse_retry_after
from distill.remote.client import ServerClient

PROMPTS = [f"Passage: number {i}" for i in range(12)]
SEEDS = list(range(100, 112))
SAMPLED = Sampling(20, 0.7, 0.9)
TEXTS = [Completion(derive_text(p, s, 0), True) for p, s in zip(PROMPTS, SEEDS, strict=True)]


@pytest.fixture
def server():
    with serve() as running:
        yield running


@pytest.fixture
def make(tmp_path):
    def engine(url: str, first_wait: float = 0.002, **settings) -> HTTPEngine:
        wanted = {"engine": "http", "model": MODEL, "base_url": url, "concurrency": 4, **settings}
        return HTTPEngine(LanguageModel(**wanted), tmp_path / "requests.sqlite", first_wait)

    return engine


# --- back-off -------------------------------------------------------------------------------------


@pytest.fixture
def waits(monkeypatch):
    """The seconds that the client would wait, one time after another; it does not."""
    asked = []

    async def skip(client, seconds):
        asked.append(seconds)

    monkeypatch.setattr(ServerClient, "_sleep", skip)
    return asked


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_waits_double_up_to_a_minute(make, server, waits, monkeypatch, share):
    monkeypatch.setattr(random, "uniform", lambda low, high: {0.5: low, 1.0: high}[share])
    server.faults.extend([reply_with_error(500)] * 8)
    engine = make(server.url, first_wait=1.0, retries=8)
    assert engine.generate(PROMPTS[:1], SEEDS[:1], SAMPLED) == TEXTS[:1]
    assert waits == [share * seconds for seconds in (1, 2, 4, 8, 16, 32, 60, 60)]


@pytest.mark.parametrize("named", ["0", "-5", "Thu, 01 Jan 1970 00:00:00 GMT", "soon"])
def test_server_that_names_no_time_is_left_alone_for_longer_each_time(
    make, server, waits, monkeypatch, named
):
    monkeypatch.setattr(random, "uniform", lambda low, high: high)
    server.faults.extend([reply_with_error(429, retry_after=named)] * 4)
    engine = make(server.url, first_wait=1.0, retries=4)
    assert engine.generate(PROMPTS[:1], SEEDS[:1], SAMPLED) == TEXTS[:1]
    assert waits == [1, 2, 4, 8]


def test_requests_that_failed_together_are_not_repeated_together(make, server, waits):
    failed = set()

    def fails_once(body):
        if body["prompt"] in failed:
            return None
        failed.add(body["prompt"])
        return reply_with_error(500)

    server.rule = fails_once
    engine = make(server.url, first_wait=1.0, concurrency=12)
    assert engine.generate(PROMPTS, SEEDS, SAMPLED) == TEXTS
    assert len(set(waits)) == len(waits) == len(PROMPTS)
    assert all(0.5 <= seconds <= 1.0 for seconds in waits)


# --- Retry-After ----------------------------------------------------------------------------------


@pytest.fixture
def waiting(monkeypatch) -> threading.Event:
    """Set when the client waits."""
    waits, sleep = threading.Event(), ServerClient._sleep

    async def note_and_sleep(client, seconds):
        waits.set()
        await sleep(client, seconds)

    monkeypatch.setattr(ServerClient, "_sleep", note_and_sleep)
    return waits


def asks_to_be_left_alone(server, waiting, seconds, workers):
    """One of the first requests, which arrive together, meets a 429 with Retry-After, and while
    that is waited for the others are answered.

    Returns the moment of the 429 and those of all later requests, once they are there."""
    together, told, later = threading.Barrier(workers), [], []

    def refuses(handler, body):
        together.wait()
        told.append(time.monotonic())
        reply_with_error(429, retry_after=f"{seconds}")(handler, body)

    def answers(handler, body):
        together.wait()
        waiting.wait()
        handler.reply(200, handler.server.answer(handler.path, body))

    server.faults.extend([refuses, *[answers] * (workers - 1)])
    server.rule = lambda body: later.append(time.monotonic())
    return told, later


def test_retry_after_is_waited_for_by_all(make, server, waiting):
    told, later = asks_to_be_left_alone(server, waiting, 0.4, workers=4)
    assert make(server.url, concurrency=4).generate(PROMPTS, SEEDS, SAMPLED) == TEXTS
    assert len(later) == len(PROMPTS) - 4 + 1
    assert min(later) - told[0] >= 0.4


def test_requests_that_waited_for_retry_after_do_not_all_come_back_at_once(
    make, server, monkeypatch
):
    """By the moments for which each of them means to wake, on a clock that stands still until all
    wait: the one that was refused, and those of the last four prompts."""
    now, wakes, waiting, shares = [100.0], [], threading.Event(), count()
    over = asyncio.Event()

    async def note_and_wait(client, seconds):
        wakes.append(now[0] + seconds)
        waiting.set()
        if len(wakes) == 5:
            now[0] += 100.0
            over.set()
        await over.wait()

    monkeypatch.setattr("distill.remote.client.monotonic", lambda: now[0])
    monkeypatch.setattr(ServerClient, "_sleep", note_and_wait)
    monkeypatch.setattr(random, "uniform", lambda low, high: low + (high - low) * next(shares) / 8)
    asks_to_be_left_alone(server, waiting, 0.5, workers=8)
    engine = make(server.url, first_wait=0.4, concurrency=8)
    assert engine.generate(PROMPTS, SEEDS, SAMPLED) == TEXTS
    opened = sorted(wakes[1:])
    assert len(opened) == 4
    assert opened[0] >= 100.5
    assert all(late - early > 0.02 for early, late in pairwise(opened))


def test_retry_after_as_a_date():
    before = datetime.now(UTC)
    soon = (before + timedelta(seconds=90)).replace(microsecond=0)
    left = parse_retry_after(format_datetime(soon, usegmt=True))
    after = datetime.now(UTC)
    assert (soon - after).total_seconds() <= left <= (soon - before).total_seconds()
    past = format_datetime(datetime.now(UTC) - timedelta(seconds=90), usegmt=True)
    assert parse_retry_after(past) == 0
    assert [parse_retry_after(v) for v in ("12", "1.5", "-1", "soon", "nan", "", None)] == [
        12, 1.5, 0, None, None, None, None,
    ]  # fmt: skip


@pytest.mark.bad_input("server", "Retry-After of an hour", "the job ends at once")
def test_server_that_asks_for_an_hour_ends_the_job_at_once(make, server):
    server.rule = lambda body: reply_with_error(429, "daily limit", retry_after="3600")
    with pytest.raises(UserError, match=r"60 minutes.*daily limit[\s\S]*same command continues"):
        make(server.url).generate(PROMPTS, SEEDS, SAMPLED)
