"""Every speed that a GPU decides, in one command: one JSON line a figure, with the card's name,
each printed as soon as it is measured.

    python benchmarks/gpu.py                           an NVIDIA GPU: about 20 minutes
    python benchmarks/gpu.py --only search --only encoder --only relabel --only batch-tokens
    python benchmarks/gpu.py --only generate --only train-lora --only train-full --only vllm
    python benchmarks/gpu.py --device cpu --quick      all of them at tiny sizes

A figure that fails is a line too, with its error, and the others go on. `relabel`: packed rows
against one full prompt a pair. `vllm`: the engine of that name against vLLM's own calls, where it
is installed. `generate`: against `model.generate`. `encoder`: against sentence-transformers'
`encode` at its best batch size. `train-lora` (7B shapes) and `train-full` (1.5B): steps of random
weights; `share_of_peak` is of the card's bfloat16 peak by its data sheet, where it is known, and
`share_of_matmul_rate` of what a product of two bfloat16 matrices reaches on it; neither counts what
is computed twice. `search`: exact search by torch against the index of the CPU with two threads.
`batch-tokens`: speeds by `batch_tokens`.

The second and third command are the first one in two halves of about ten minutes.
"""

import json
import statistics
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import click
import numpy as np
import torch
from engines import transformers as plain_generation
from score import QUERIES_A_PASSAGE, SMOLLM2, full_prompts, make_requests
from sentence_transformers import SentenceTransformer
from threadpoolctl import threadpool_limits
from train import MINILM
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    MistralConfig,
    PretrainedConfig,
    Qwen2Config,
)

from distill.embed.local import LocalEmbedder
from distill.embed.open_model import open_model
from distill.llm import Sampling
from distill.llm.transformers.engine import TransformersEngine
from distill.llm.transformers.prefix_cache import PrefixCache
from distill.models.reference import resolve
from distill.recipe import EmbedderConfig, Train
from distill.recipe.sections.student import Lora
from distill.retrieve.exact import ExactIndex
from distill.retrieve.torch_exact import TorchExactIndex
from distill.runtime.devices import free_memory, get_torch_dtype
from distill.runtime.machine import describe_machine, format_machine
from distill.student.base_model import get_first_transformer
from distill.student.lora import add_lora
from distill.train.objectives import CombinedLoss

Figure = dict[str, Any]
PEAKS = {"A100": 312e12, "H100": 989e12, "H200": 989e12, "L40S": 362e12, "L4": 121e12}
"""Operations a second in bfloat16, dense, by the data sheets of NVIDIA's cards (those with SXM
sockets), by a part of the card's name; the longer name comes first."""
SEARCH_THREADS = 2
"""Of the CPU that exact search on a GPU is compared with."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured; on a GPU, or (`QUICK`) to see that all of it runs."""

    rounds: int
    passages: int
    prompts: int
    texts: int
    batch_sizes: tuple[int, ...]
    batch_tokens: tuple[int, ...]
    vectors: tuple[int, ...]
    width: int
    tokens: int
    """Of each text in training."""
    batch: int
    mini_batch_tokens: int
    steps: int
    matmul: int


FULL = Sizes(
    rounds=3,
    passages=32,
    prompts=256,
    texts=20_000,
    batch_sizes=(32, 128, 512, 1024, 2048),
    batch_tokens=(4096, 16_384, 65_536, 131_072),
    vectors=(1_000_000, 10_000_000),
    width=384,
    tokens=512,
    batch=32,
    mini_batch_tokens=16_384,
    steps=5,
    matmul=8192,
)
QUICK = Sizes(1, 1, 2, 20, (8,), (1024,), (2000,), 32, 16, 4, 64, 1, 64)

SEVEN_B: dict[str, Any] = {
    "hidden_size": 4096,
    "intermediate_size": 14_336,
    "num_hidden_layers": 32,
}
SEVEN_B |= {"num_attention_heads": 32, "num_key_value_heads": 8}
ONE_AND_A_HALF_B: dict[str, Any] = {
    "hidden_size": 1536,
    "intermediate_size": 8960,
    "num_hidden_layers": 28,
}
ONE_AND_A_HALF_B |= {"num_attention_heads": 12, "num_key_value_heads": 2}
TINY: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
TINY |= {"num_attention_heads": 4, "num_key_value_heads": 2}


@dataclass(frozen=True)
class Bench:
    """What the figures share."""

    device: str
    sizes: Sizes
    quick: bool
    llm: str
    encoder: str

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32 if self.device == "cpu" else get_torch_dtype("auto", self.device)

    @property
    def dtype_name(self) -> str:
        return str(self.dtype).removeprefix("torch.")

    def seconds(self, work: Callable[[], object]) -> float:
        """Of one call, until the device has finished."""
        self.synchronize()
        begun = time.perf_counter()
        work()
        self.synchronize()
        return time.perf_counter() - begun

    def median(self, work: Callable[[], object]) -> float:
        """Seconds of a call, after one that warms up; the median over the rounds."""
        if not self.quick:
            work()
        return statistics.median(self.seconds(work) for _ in range(self.sizes.rounds))

    def synchronize(self) -> None:
        if self.device.startswith("cuda"):
            torch.cuda.synchronize(self.device)

    def reset_peak(self) -> None:
        free_memory()
        if self.device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats(self.device)

    def peak_gib(self) -> float | None:
        if not self.device.startswith("cuda"):
            return None
        return round(torch.cuda.max_memory_allocated(self.device) / 2**30, 2)

    def engine(self, shapes: dict[str, Any] | None = None) -> TransformersEngine:
        """The LLM; with other shapes, random weights behind its tokenizer."""
        engine = TransformersEngine(self.llm, self.dtype_name, self.device)
        if shapes is not None:
            rows = engine.model.get_output_embeddings().weight.shape[0]
            config = MistralConfig(vocab_size=rows, sliding_window=None, **shapes)
            engine.model = make_random(AutoModelForCausalLM, config, self.dtype, self.device)
            engine.prefix_cache = PrefixCache(engine.model)
            engine._score_prefix_cache = PrefixCache(engine.model, max_bytes=0)
        return engine


def make_random(kind: Any, config: PretrainedConfig, dtype: torch.dtype, device: str) -> Any:
    """A model of random weights, made on the device."""
    torch.manual_seed(0)
    with torch.device(device):
        return kind.from_config(config, dtype=dtype, attn_implementation="sdpa").eval()


def compare(name: str, unit: str, ours: float, peer: float, **more: Any) -> Figure:
    ratio = round(ours / peer, 2)
    figure = {"name": name, "unit": unit, "ours": round(ours, 2), "peer": round(peer, 2)}
    return figure | {"ratio": ratio} | more


def measure_relabelling(bench: Bench) -> Iterator[Figure]:
    for name, shapes in (("as it is", None), ("7B shapes", TINY if bench.quick else SEVEN_B)):
        engine = bench.engine(shapes)
        yield compare_scoring(bench, engine) | {"model": name}
        engine.close()
        free_memory()


def compare_scoring(bench: Bench, engine: TransformersEngine) -> Figure:
    requests = make_requests(engine, bench.sizes.passages)
    pairs = len(requests) * QUERIES_A_PASSAGE
    ours = {
        tokens: pairs / bench.median(lambda: engine.score(requests))
        for tokens in set_batch_tokens(engine, bench.sizes.batch_tokens)
    }
    peer = {
        size: pairs / bench.median(partial(full_prompts, engine, requests, size))
        for size in ((8,) if bench.quick else (8, 32, 128))
    }
    return compare(
        "relabel",
        "pairs/s",
        max(ours.values()),
        max(peer.values()),
        by_batch_tokens=ours,
        by_batch_size=peer,
        peer_is="one full prompt a pair, in its best batch size",
        target=8,
    )


def set_batch_tokens(engine: TransformersEngine, values: tuple[int, ...]) -> Iterator[int]:
    for tokens in values:
        engine.batch_tokens = engine._generation_tokens = tokens
        yield tokens


def measure_generation(bench: Bench) -> Iterator[Figure]:
    yield plain_generation.compare(not bench.quick, bench.quick, bench.device, bench.llm)


def measure_vllm(bench: Bench) -> Iterator[Figure]:
    try:
        import vllm
    except ImportError:
        yield {"name": "vllm", "left_out": "vllm is not installed"}
        return
    from engines.vllm import compare as compare_with_vllm

    figure = compare_with_vllm(True, bench.quick, bench.device)
    yield figure | {"vllm": vllm.__version__}


def measure_batch_tokens(bench: Bench) -> Iterator[Figure]:
    engine = bench.engine()
    requests = make_requests(engine, bench.sizes.passages)
    prompts = plain_generation.prompts(bench.sizes.prompts)
    sampling = Sampling(8 if bench.quick else 64, 0.0)
    for tokens in set_batch_tokens(engine, bench.sizes.batch_tokens):
        bench.reset_peak()
        pairs = len(requests) * QUERIES_A_PASSAGE
        scoring = bench.median(lambda: engine.score(requests))
        before = engine.tokens["new"]
        writing = bench.seconds(lambda: engine.generate(prompts, range(len(prompts)), sampling))
        yield {
            "name": "batch-tokens",
            "batch_tokens": tokens,
            "pairs_per_second": round(pairs / scoring, 1),
            "new_tokens_per_second": round((engine.tokens["new"] - before) / writing, 1),
            "peak_gib": bench.peak_gib(),
        }
    engine.close()


def measure_encoder(bench: Bench) -> Iterator[Figure]:
    words = " ".join(plain_generation.prompts(8)).split()
    lengths = np.random.default_rng(0).integers(5, 200, bench.sizes.texts)
    starts = np.random.default_rng(1).integers(0, max(1, len(words) - 200), bench.sizes.texts)
    texts = [" ".join(words[s : s + length]) for s, length in zip(starts, lengths, strict=True)]
    settings = EmbedderConfig(device=bench.device, dtype=bench.dtype_name, max_tokens=256)
    opened = open_model(bench.encoder, settings)
    model: SentenceTransformer = opened.model
    ours: dict[int, float] = {}
    for tokens in bench.sizes.batch_tokens:
        embedder = LocalEmbedder(opened, tokens)
        taken = bench.median(partial(embedder.embed, texts, "", "document"))
        ours[tokens] = round(len(texts) / taken, 1)
    peer: dict[int, float] = {}
    for size in bench.sizes.batch_sizes:
        taken = bench.median(partial(model.encode, texts, batch_size=size))
        peer[size] = round(len(texts) / taken, 1)
    yield compare(
        "encoder",
        "texts/s",
        max(ours.values()),
        max(peer.values()),
        by_batch_tokens=ours,
        by_batch_size=peer,
        dtype=bench.dtype_name,
        peer_is="SentenceTransformer.encode at its best batch size",
        target=1.2,
    )


def measure_lora(bench: Bench) -> Iterator[Figure]:
    config = MistralConfig(
        vocab_size=32_000, sliding_window=None, **(TINY if bench.quick else SEVEN_B)
    )
    for base in (torch.bfloat16, torch.float32):
        model = make_student(bench, config, torch.float32 if bench.device == "cpu" else base)
        add_lora(model, Lora(rank=16), 0, base)
        # Forward, and back to the activations: frozen weights have no gradient of their own.
        yield train_steps(bench, model, "train-lora", 4) | {"base_dtype": str(base)}
        del model


def measure_full_training(bench: Bench) -> Iterator[Figure]:
    shapes = TINY if bench.quick else ONE_AND_A_HALF_B
    config = Qwen2Config(vocab_size=151_646, **shapes)
    yield train_steps(bench, make_student(bench, config, torch.float32), "train-full", 6)


def make_student(bench: Bench, config: PretrainedConfig, dtype: torch.dtype) -> SentenceTransformer:
    """The encoder's pooling around a decoder of random weights."""
    model = SentenceTransformer(str(resolve(bench.encoder)), device="cpu")
    inner = make_random(AutoModel, config, dtype, bench.device)
    inner.gradient_checkpointing_enable({"use_reentrant": False})
    get_first_transformer(model).model = inner
    return model.to(bench.device).train()


def train_steps(bench: Bench, model: SentenceTransformer, name: str, passes: int) -> Figure:
    """Steps of the contrast over queries and passages of equal length.

    Args:
        passes: operations a weight and token, for the share of the device's rate.
    """
    sizes = bench.sizes
    train = Train(objective={"infonce": 1.0}, mini_batch_tokens=sizes.mini_batch_tokens)
    loss = CombinedLoss(model, train, None, torch.nn.Identity()).to(bench.device)
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=1e-5)
    config = get_first_transformer(model).model.config
    ids = torch.randint(5, config.vocab_size, (2, sizes.batch, sizes.tokens), device=bench.device)
    columns = [{"input_ids": c, "attention_mask": torch.ones_like(c)} for c in ids]
    labels = torch.arange(3 * sizes.batch, device=bench.device).view(3, -1).T

    def step() -> None:
        with torch.autocast(torch.device(bench.device).type, torch.bfloat16):
            value = loss(columns, labels)
        value.backward()
        optimizer.step()
        optimizer.zero_grad()

    bench.reset_peak()
    step()
    taken = statistics.median(bench.seconds(step) for _ in range(sizes.steps))
    layers: Any = get_first_transformer(model).model.layers
    counted = sum(p.numel() for n, p in layers.named_parameters() if "lora_" not in n)
    rate = ids.numel() / taken
    operations, peak = passes * counted * rate, find_peak(bench)
    return {
        "name": name,
        "unit": "tokens/s",
        "ours": round(rate, 1),
        "parameters": counted,
        "tokens_a_text": sizes.tokens,
        "mini_batch_tokens": sizes.mini_batch_tokens,
        "share_of_peak": round(operations / peak, 3) if peak else None,
        "share_of_matmul_rate": round(operations / measure_matmul(bench), 3),
        "peak_gib": bench.peak_gib(),
        "target_share": 0.4,
    }


def find_peak(bench: Bench) -> float | None:
    """Find the card's operations a second; None for a CPU and cards that are not in `PEAKS`."""
    if not bench.device.startswith("cuda"):
        return None
    name = torch.cuda.get_device_name(bench.device)
    return next((peak for part, peak in PEAKS.items() if part in name), None)


def measure_matmul(bench: Bench) -> float:
    """Operations a second of a product of two square bfloat16 matrices."""
    size = bench.sizes.matmul
    one, other = torch.randn(2, size, size, device=bench.device, dtype=torch.bfloat16)
    times = 50 if bench.device.startswith("cuda") else 2
    taken = bench.median(lambda: [one @ other for _ in range(times)])
    return 2 * size**3 * times / taken


def measure_search(bench: Bench) -> Iterator[Figure]:
    for count in bench.sizes.vectors:
        yield compare_search(bench, draw_vectors(bench, count))
        free_memory()


def compare_search(bench: Bench, vectors: np.ndarray) -> Figure:
    queries = vectors[:1024].astype(np.float32)
    few = queries[:64]
    index, plain = TorchExactIndex(vectors, bench.device), ExactIndex(vectors)
    ours = len(queries) / bench.median(lambda: index.search(queries, 20))
    with threadpool_limits(SEARCH_THREADS):
        theirs = len(few) / bench.seconds(lambda: plain.search(few, 20))
    return compare(
        "search",
        "queries/s",
        ours,
        theirs,
        vectors=len(vectors),
        width=vectors.shape[1],
        same_rows=bool(np.array_equal(index.search(few, 20)[1], plain.search(few, 20)[1])),
        peer_is=f"the exact index of the CPU, at most {SEARCH_THREADS} threads",
        target=50,
    )


def draw_vectors(bench: Bench, count: int) -> np.ndarray:
    """Unit vectors in float16, drawn on the device a million at a time."""
    torch.manual_seed(0)
    parts = []
    for start in range(0, count, 1_000_000):
        rows = min(1_000_000, count - start)
        drawn = torch.randn(rows, bench.sizes.width, device=bench.device)
        parts.append(torch.nn.functional.normalize(drawn).half().cpu().numpy())
    return np.concatenate(parts)


MEASURES: dict[str, Callable[[Bench], Iterator[Figure]]] = {
    "search": measure_search,
    "encoder": measure_encoder,
    "relabel": measure_relabelling,
    "batch-tokens": measure_batch_tokens,
    "generate": measure_generation,
    "train-lora": measure_lora,
    "train-full": measure_full_training,
    "vllm": measure_vllm,
}


@click.command()
@click.option("--device", default="cuda", show_default=True)
@click.option("--quick", is_flag=True, help="Tiny sizes: to see that everything runs.")
@click.option("--only", multiple=True, type=click.Choice(list(MEASURES)))
@click.option("--llm", default=SMOLLM2, help="A small LLM.")
@click.option("--encoder", default=MINILM, help="A small embedding model.")
def main(device: str, quick: bool, only: tuple[str, ...], llm: str, encoder: str) -> None:
    bench = Bench(device, QUICK if quick else FULL, quick, llm, encoder)
    machine = format_machine(describe_machine())
    for name in only or MEASURES:
        begun = time.perf_counter()
        try:
            for figure in MEASURES[name](bench):
                took = round(time.perf_counter() - begun)
                say(figure | {"machine": machine, "dtype": bench.dtype_name, "seconds": took})
        except Exception as fault:  # noqa: BLE001  (the other figures are worth as much)
            last = traceback.format_exc().splitlines()[-6:]
            say({"name": name, "error": f"{type(fault).__name__}: {fault}"[:500], "trace": last})
        free_memory()


def say(figure: Figure) -> None:
    print(json.dumps(figure), flush=True)


if __name__ == "__main__":
    main()
