"""What a copy in an object store costs the process that writes a run: CPU and wall time a shard,
beside a run without one. The store is moto's server in a process of its own, so wall time is
bounded by it.

    python benchmarks/object_store.py --shards 1000
"""

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

from distill.object_store.mirror import open_mirror
from distill.store.run import Run
from distill.store.stage import ShardResult
from distill.store.tables import DROPPED

ROWS = 256


def serve(pipe: Connection) -> None:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    WSGIRequestHandler.log = lambda *_: None  # type: ignore[method-assign]
    app = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    pipe.send(server.server_port)
    server.serve_forever()


def measure(shards: int, store: str | None) -> dict[str, float]:
    def work(number: int) -> ShardResult:
        rows = [{"item_id": f"{number}-{row}", "reason": "", "text": "x"} for row in range(ROWS)]
        return ShardResult(rows)

    wall, cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        with Run(place) as run, open_mirror(place, store) as run.mirror:
            stage = run.open_stage("words", {})
            stage.map_shards(DROPPED, range(shards), work)
            stage.finish()
    return {
        "cpu_ms_a_shard": round((time.process_time() - cpu) / shards * 1000, 2),
        "wall_ms_a_shard": round((time.perf_counter() - wall) / shards * 1000, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=1000)
    shards = parser.parse_args().shards
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    server = context.Process(target=serve, args=(there,), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{here.recv()}"
    os.environ.update(
        AWS_ENDPOINT_URL=url,
        AWS_ALLOW_HTTP="true",
        AWS_ACCESS_KEY_ID="benchmark",
        AWS_SECRET_ACCESS_KEY="benchmark",
        AWS_REGION="us-east-1",
    )
    import httpx

    httpx.put(f"{url}/bucket").raise_for_status()
    measure(50, "s3://bucket/warm")
    alone, copied = measure(shards, None), measure(shards, "s3://bucket/run")
    ours, peer = copied["cpu_ms_a_shard"], alone["cpu_ms_a_shard"]
    line = {
        "name": "a run with a copy in an object store against its folder alone",
        "unit": "ms of CPU a shard",
        "ours": ours,
        "peer": peer,
        "ratio": round(ours / peer, 2),
        "wall_ms_a_shard": [copied["wall_ms_a_shard"], alone["wall_ms_a_shard"]],
    }
    print(json.dumps(line))
    server.terminate()


if __name__ == "__main__":
    main()
