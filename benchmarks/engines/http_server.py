"""A stand-in for an OpenAI-compatible server: each request takes so many seconds, all at once.

    python -P benchmarks/engines/http_server.py 0.05

Prints its port. It computes nothing: it is there to measure what a client costs.
"""

import asyncio
import json
import sys

SECONDS = float(sys.argv[1])


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Requests of one connection, one after another."""
    text = " Find what the passage says.\nQuery: what does the passage say of owls"
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": "stop"}
    usage = {"prompt_tokens": 400, "completion_tokens": 16}
    body = json.dumps({"model": "stand-in", "choices": [choice], "usage": usage}).encode()
    reply = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
        len(body),
        body,
    )
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
            await reader.readexactly(int(length))
            await asyncio.sleep(SECONDS)
            writer.write(reply)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionResetError):
        writer.close()


async def serve() -> None:
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve())
