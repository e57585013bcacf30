"""The HTTP engine against a bare asynchronous client: same server, prompts and concurrency.

The claim is about the client's own cost (hashing, the cache, the limit, retries), so the server is
a stand-in in a process of its own that waits as long as a server would compute, and answers.
"""

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from distill.llm import Sampling
from distill.llm.http.engine import HTTPEngine
from distill.recipe import LanguageModel

MODEL = "stand-in"
CONCURRENCY = 32
SECONDS_A_REQUEST = 0.05
PROMPT_WORDS = 400
SERVER = Path(__file__).with_name("http_server.py")
SAMPLING = Sampling(64, 0.7, 0.95, stop=("\n\n",))


def bare(url: str, prompts: list[str], seeds: list[int]) -> list[str]:
    """The peer: httpx and a semaphore, without cache, limit or retries."""

    async def run() -> list[str]:
        room = asyncio.Semaphore(CONCURRENCY)
        limits = httpx.Limits(max_connections=CONCURRENCY, max_keepalive_connections=CONCURRENCY)
        async with httpx.AsyncClient(timeout=120, limits=limits) as client:

            async def one(prompt: str, seed: int) -> str:
                body = {
                    "model": MODEL,
                    "prompt": prompt,
                    "max_tokens": SAMPLING.max_new_tokens,
                    "temperature": SAMPLING.temperature,
                    "top_p": SAMPLING.top_p,
                    "seed": seed,
                    "stop": list(SAMPLING.stop),
                }
                async with room:
                    response = await client.post(f"{url}/completions", json=body)
                return str(response.json()["choices"][0]["text"])

            return await asyncio.gather(*map(one, prompts, seeds))

    return asyncio.run(run())


def ours(url: str, prompts: list[str], seeds: list[int]) -> list[str]:
    """The engine with an empty cache on disk; making the engine counts too."""
    with tempfile.TemporaryDirectory() as folder:
        settings = LanguageModel(engine="http", model=MODEL, base_url=url, concurrency=CONCURRENCY)
        engine = HTTPEngine(settings, Path(folder) / "requests.sqlite")
        texts = [written.text for written in engine.generate(prompts, seeds, SAMPLING)]
        assert engine.tokens["cached"] == engine.tokens["failures"] == 0
        engine.client.cache.close()
        return texts


def compare(quick: bool, smoke: bool = False) -> dict[str, object]:
    """Prompts a second of both, medians over rounds in which they take turns at going first."""
    rounds, count = (5, 640) if quick else (9, 1600)
    if smoke:
        rounds, count = 1, 64
    words = " ".join(f"word{i}" for i in range(PROMPT_WORDS))
    prompts = [f"Passage {i}: {words}\nTask:" for i in range(count)]
    seeds = list(range(count))
    # -P: this folder's http.py must not stand for the standard library's.
    command = [sys.executable, "-P", str(SERVER), str(SECONDS_A_REQUEST)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    rates: dict[str, list[float]] = {"ours": [], "peer": []}
    try:
        assert process.stdout
        url = f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        bare(url, prompts[:64], seeds[:64])
        for turn in range(rounds):
            pair = [("ours", ours), ("peer", bare)]
            for name, client in pair if turn % 2 else reversed(pair):
                begun = time.perf_counter()
                texts = client(url, prompts, seeds)
                rates[name].append(count / (time.perf_counter() - begun))
                assert len(texts) == count
    finally:
        process.kill()
        process.wait()
    return {
        "name": "generate http",
        "unit": "prompts/s",
        "ours": round(statistics.median(rates["ours"]), 1),
        "peer": round(statistics.median(rates["peer"]), 1),
        "ratio": round(
            statistics.median(a / b for a, b in zip(rates["ours"], rates["peer"], strict=True)), 3
        ),
        "target": 0.9,
        "prompts": count,
        "rounds": rounds,
        "concurrency": CONCURRENCY,
        "seconds_a_request": SECONDS_A_REQUEST,
        "peer_is": "httpx.AsyncClient behind a semaphore, the same prompts on the same server",
    }
