"""A local OpenAI-compatible server for tests: it answers over a socket, from a text that depends on
prompt and seed alone or from a tiny transformers model, and it misbehaves when told to."""

import hashlib
import json
import random
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

MODEL = "tiny-model"
Body = dict[str, Any]


class SeenRequest(NamedTuple):
    path: str
    headers: dict[str, str]
    body: Body


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Server"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        fault = self.server.note(SeenRequest(self.path, dict(self.headers), body))
        if fault is None and body["model"] not in self.server.models:
            fault = reply_with_error(404, f"The model `{body['model']}` does not exist.")
        try:
            if fault is None:
                self.reply(200, self.server.answer(self.path, body))
            else:
                fault(self, body)
        except (BrokenPipeError, ConnectionResetError):  # the client did not wait
            self.close_connection = True
        finally:
            self.server.note_end()

    def do_GET(self) -> None:
        listed = [{"id": model} for model in self.server.models]
        self.reply(200, {"object": "list", "data": listed})

    def reply(self, code: int, content: Any, headers: dict[str, str] | None = None) -> None:
        payload = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        for name, value in {"Content-Length": str(len(payload)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format: str, *args: Any) -> None:
        """Tests read `seen`, not stderr."""


Fault = Callable[[Handler, Body], None]
Writer = Callable[[str, Body], Body]


class Server(ThreadingHTTPServer):
    """`faults` are what the next requests meet, one each (None: an answer); `rule` decides for
    each request after those."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, answer: Writer, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.answer = answer
        self.models = [MODEL]
        self.seen: list[SeenRequest] = []
        self.faults: deque[Fault | None] = deque()
        self.rule: Callable[[Body], Fault | None] = lambda body: None
        self.most_at_once = 0
        self._now = 0
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def note(self, seen: SeenRequest) -> Fault | None:
        with self._lock:
            self.seen.append(seen)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
            return self.faults.popleft() if self.faults else self.rule(seen.body)

    def note_end(self) -> None:
        with self._lock:
            self._now -= 1

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no fault of the server."""


@contextmanager
def serve(answer: Writer | None = None) -> Iterator[Server]:
    server = Server(answer or answer_by_prompt())
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


# --- answers --------------------------------------------------------------------------------------


def read_prompt(body: Body) -> str:
    return body["prompt"] if "prompt" in body else body["messages"][-1]["content"]


def derive_text(prompt: str, seed: int | None, draw: int) -> str:
    """The text that `answer_by_prompt` answers with."""
    digest = hashlib.sha256(f"{prompt}|{seed}|{draw}".encode()).hexdigest()
    return f" about {prompt.split()[-1]} {digest[:8]}"


def answer_by_prompt(choices: int | None = None, seconds: float = 0.0) -> Writer:
    """Texts out of prompt, seed and the draw's number; at most `choices` of them a request."""

    def answer(path: str, body: Body) -> Body:
        time.sleep(seconds)
        prompt = read_prompt(body)
        count = min(body.get("n", 1), choices or 100)
        texts = [derive_text(prompt, body.get("seed"), draw) for draw in range(count)]
        return make_completion(path, texts, prompt_tokens=len(prompt.split()))

    return answer


def answer_always(text: str, end: str = "stop") -> Writer:
    """The same text whatever is asked."""
    return lambda path, body: make_completion(path, [text], end=end)


def make_completion(
    path: str,
    texts: list[str],
    end: str = "stop",
    prompt_tokens: int = 1,
    logprobs: list[Any] | None = None,
) -> Body:
    """A reply in the form of the endpoint."""
    chat = path.endswith("/chat/completions")
    choices: list[Body] = []
    for index, text in enumerate(texts):
        said: Body = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        known = logprobs[index] if logprobs else None
        choices.append({"index": index, **said, "logprobs": known, "finish_reason": end})
    used = {"prompt_tokens": prompt_tokens, "completion_tokens": 3 * len(texts)}
    return {"object": "completion", "model": MODEL, "choices": choices, "usage": used}


class TinyModel:
    """Completions by a real model, with `echo`, `prompt_logprobs` and top log-probabilities."""

    def __init__(self, folder: Path, echo: bool = True) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(folder).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.echo = echo
        self._lock = threading.Lock()

    def __call__(self, path: str, body: Body) -> Body:
        with self._lock, torch.inference_mode():
            return self._answer(path, body)

    def _answer(self, path: str, body: Body) -> Body:
        ids = self.tokenizer(read_prompt(body), return_tensors="pt")["input_ids"]
        length = ids.shape[1]
        for _ in range(body["max_tokens"]):
            logits = self.model(input_ids=ids).logits[:, -1]
            ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], dim=1)
        logprobs = self.model(input_ids=ids).logits[0].float().log_softmax(-1)
        echo = self.echo and body.get("echo", False)
        first = 0 if echo else length
        given = self._list_logprobs(ids[0], logprobs, first, body) if body.get("logprobs") else None
        reply = make_completion(
            path, [self.tokenizer.decode(ids[0, first:])], "length", length, logprobs=[given]
        )
        if self.echo and body.get("prompt_logprobs") is not None:
            reply["choices"][0]["prompt_logprobs"] = self._list_prompt_logprobs(
                ids[0, :length], logprobs
            )
        return reply

    def _list_logprobs(self, ids: Any, logprobs: Any, first: int, body: Body) -> Body:
        chat = "messages" in body
        top = body["top_logprobs"] if chat else body["logprobs"]
        tokens = [self.tokenizer.decode(i) for i in ids.tolist()]
        tops = [
            {self.tokenizer.decode(int(i)): float(lp) for lp, i in zip(*row, strict=True)}
            for row in zip(*logprobs.topk(top), strict=True)
        ]
        if chat:
            listed = [{"token": t, "logprob": lp} for t, lp in tops[first - 1].items()]
            return {"content": [{**listed[0], "top_logprobs": listed}]}
        own = [None, *(float(logprobs[i - 1, ids[i]]) for i in range(1, len(ids)))]
        return {
            "tokens": tokens[first:],
            "token_logprobs": own[first:],
            "top_logprobs": [None, *tops][first : len(ids)],
        }

    def _list_prompt_logprobs(self, ids: Any, logprobs: Any) -> list[Body | None]:
        """As vLLM writes them: for each token but the first, by its id."""
        rest: list[Body | None] = [
            {str(int(ids[i])): self._rank_token(ids, logprobs, i)} for i in range(1, len(ids))
        ]
        return [None, *rest]

    def _rank_token(self, ids: Any, logprobs: Any, i: int) -> Body:
        text = self.tokenizer.decode(int(ids[i]))
        return {"logprob": float(logprobs[i - 1, ids[i]]), "rank": 1, "decoded_token": text}


# --- faults ---------------------------------------------------------------------------------------


def reply_with_error(
    code: int, message: str = "no", param: str | None = None, **headers: str
) -> Fault:
    """An error as OpenAI-compatible servers write it; `retry_after="1"` becomes a header."""
    names = {name.replace("_", "-").title(): value for name, value in headers.items()}
    error = {"error": {"message": message, "type": "x", "param": param, "code": code}}
    return lambda handler, body: handler.reply(code, error, names)


def reply_with(content: Any) -> Fault:
    """A reply of status 200 that holds this."""
    return lambda handler, body: handler.reply(200, content)


def drop_connection(handler: Handler, body: Body) -> None:
    """The connection ends without a reply."""
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


def truncate_body(handler: Handler, body: Body) -> None:
    """The connection ends within the body."""
    handler.close_connection = True
    payload = json.dumps(handler.server.answer(handler.path, body)).encode()
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(payload)))
    handler.end_headers()
    handler.wfile.write(payload[: len(payload) // 2])
    handler.wfile.flush()
    handler.connection.shutdown(socket.SHUT_RDWR)


def trickle_body(seconds: float) -> Fault:
    """The body comes a byte at a time: no single wait is long, the whole is."""

    def fault(handler: Handler, body: Body) -> None:
        handler.close_connection = True
        payload = json.dumps(handler.server.answer(handler.path, body)).encode()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(payload)))
        handler.end_headers()
        for byte in payload:
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
            time.sleep(seconds / len(payload))

    return fault


def trickle_without_end(handler: Handler, body: Body) -> None:
    """The body comes a byte at a time for as long as the client waits."""
    handler.close_connection = True
    handler.send_response(200)
    handler.send_header("Content-Length", str(10**9))
    handler.end_headers()
    while True:
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.02)


def give_no_reply(handler: Handler, body: Body) -> None:
    """Nothing comes for as long as the client waits."""
    handler.close_connection = True
    handler.connection.recv(1)


def reply_packed(content: bytes, encoding: str = "gzip") -> Fault:
    """A reply of status 200, packed in a way that a client may take or not."""
    return lambda handler, body: handler.reply(200, content, {"Content-Encoding": encoding})


def reply_without_end(handler: Handler, body: Body) -> None:
    """A reply that goes on for as long as it is read."""
    handler.close_connection = True
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b" " * (1 << 20))


def reply_nested(levels: int, code: int = 200) -> Fault:
    """Lists in lists, in a body of any status."""
    return lambda handler, body: handler.reply(code, b"[" * levels + b"]" * levels)


def fail_at_random(
    *faults: Fault, share: float = 0.3, seed: int = 0
) -> Callable[[Body], Fault | None]:
    """A rule: so large a share of requests meets one of these."""
    draw = random.Random(seed)
    return lambda body: draw.choice(faults) if draw.random() < share else None
