"""How long each attention takes beside dense causal attention: `python scripts/benchmark_attention.py`.

Times what lies between the projections, forward and backward, of every variant and backend that runs here, each in turn
with dense attention, since machines are noisy: ratios of medians count. On CUDA: --lengths 256,1024,4096, in bf16.
"""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from torch.nn import functional as F

from frontpage.attention.gated_delta import GatedDeltaAttention
from frontpage.attention.kernels.describe import router_of
from frontpage.attention.kernels.pattern_paths import accelerate
from frontpage.attention.parts.contract import SelfAttention
from frontpage.attention.parts.projected import ProjectedAttention
from frontpage.command.arguments import Arguments, number, save_json
from frontpage.command.build import build
from frontpage.command.config_folder import CONFIGS
from frontpage.command.progress_line import watched
from frontpage.machine.allocator import keep_freed_memory
from frontpage.machine.processor import processor_name

WARM_UP = 8  # rounds that are not counted: kernels are compiled, memory is taken
EXTRA = {  # settings beside a variant's own defaults
    "strided alone": ("strided", {"alternate": "none"}),
    "gated_delta rule": ("gated_delta", {}),  # without the norms of keys, queries and outputs, and without its gates
    "sparsek hard": ("sparsek", {"gate": "hard"}),
    "sparsek soft": ("sparsek", {"gate": "soft"}),
    "sparsek k=32 window=16": ("sparsek", {"k": 32, "window": 16}),
}


def main() -> None:
    """Time all of them and print a table for each length."""
    parser = Arguments("Time every attention beside dense causal attention.", ("lengths", "processor", "rounds"))
    parser.add_argument("--only", nargs="+", choices=[*variants()], metavar="VARIANT", help="beside causal; all")
    parser.add_argument("--batch", type=number(int, 1), default=32)
    parser.add_argument("--heads", type=number(int, 1), default=8)
    parser.add_argument("--head-width", type=number(int, 1), default=16)
    parser.add_argument("--lengths", type=lengths, default=[256], metavar="T,...", help="tokens: 256")
    parser.add_argument("--rounds", type=number(int, 1), default=5, help="of which the median is taken")
    parser.add_argument("--documents", action="store_true", help="rows of titles of 12 tokens, kept apart")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    kept = device.type == "cpu" and keep_freed_memory()  # as train.py does
    tables = {length: measure(arguments, length, device, dtype) for length in arguments.lengths}
    result = {
        "processor": processor_name(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "batch": arguments.batch,
        "heads": arguments.heads,
        "head_width": arguments.head_width,
        "dtype": str(dtype).removeprefix("torch."),
        "documents": arguments.documents,
        "freed_memory_kept": kept,
        "rounds": arguments.rounds,
        "lengths": tables,
    }
    report(result)
    save_json(arguments.json, result)


def lengths(text: str) -> list[int]:
    """An argument type: several lengths with commas between them."""
    return [number(int, 2)(part) for part in text.split(",")]


def measure(
    arguments: argparse.Namespace, length: int, device: torch.device, dtype: torch.dtype
) -> dict[str, dict[str, Any]]:
    """For each variant: its route, milliseconds of each backend, and the ratio of the chosen one to dense attention."""
    sizes = {"d_model": arguments.heads * arguments.head_width, "n_head": arguments.heads, "block_size": length}
    ids = None
    if arguments.documents:
        ids = (torch.arange(length, device=device) // 12).expand(arguments.batch, -1).contiguous()
    runs: dict[tuple[str, str], Callable[[], None]] = {}
    chosen: dict[str, str] = {}
    for name, (option, settings) in variants().items():
        if arguments.only and name not in ("causal", *arguments.only):
            continue
        layer = variant(option, {**settings, "backend": "auto"}, sizes, device, dtype)
        chosen[name] = router_of(layer).route(length, device, documents=ids is not None)
        for backend in layer.backends:
            if router_of(layer).refusal(backend, device, ids is not None, True) is None:
                own = variant(option, {**settings, "backend": backend}, sizes, device, dtype)
                runs[name, backend] = step(own, arguments.batch, length, ids, device, dtype, name == "gated_delta rule")
    dense = runs["causal", chosen["causal"]]
    table: dict[str, dict[str, Any]] = {
        name: {"auto": route, "milliseconds": {}, "ratios": {}} for name, route in chosen.items()
    }
    for (name, backend), run in watched(runs.items(), f"{length} tokens", [1] * len(runs)):
        ours, theirs = timed(run, dense, arguments.rounds, device)
        table[name]["milliseconds"][backend] = ours * 1e3
        table[name]["ratios"][backend] = ours / theirs
        if backend == chosen[name]:
            table[name]["ratio_to_dense"] = ours / theirs
    return table


def variants() -> dict[str, tuple[str, dict[str, Any]]]:
    """Every option of model/attention with its defaults, dense attention first, and EXTRA."""
    names = sorted(path.stem for path in Path(CONFIGS, "model", "attention").glob("*.yaml"))
    names.sort(key=lambda name: name != "causal")
    return {name: (name, {}) for name in names} | EXTRA


def variant(
    option: str, settings: dict[str, Any], sizes: dict[str, int], device: torch.device, dtype: torch.dtype
) -> SelfAttention:
    """The layer of an option with some of its settings changed."""
    with initialize_config_dir(CONFIGS):
        node = compose("train", overrides=["paths.run_dir=none", f"model/attention={option}"]).model.attention
    node.update(settings)
    return accelerate(build(node, "model.attention")(**sizes)).to(device, dtype)


def step(
    layer: SelfAttention,
    batch: int,
    length: int,
    ids: torch.Tensor | None,
    device: torch.device,
    dtype: torch.dtype,
    rule_alone: bool,
) -> Callable[[], None]:
    """One forward and backward pass between the projections; `mla` has its own projections and is timed with them."""
    x = torch.randn(batch, length, layer.out.out_features, device=device, dtype=dtype, requires_grad=True)
    shape = batch, layer.n_head, length, layer.head_width
    given = [torch.randn(shape, device=device, dtype=dtype, requires_grad=True) for _ in "qkv"]
    if isinstance(layer, GatedDeltaAttention) and rule_alone:
        decay = -torch.rand(shape[:3], device=device) / 10
        write = F.logsigmoid(torch.randn(shape[:3], device=device))
        given = [F.normalize(part.detach().float(), dim=-1).requires_grad_() for part in given]
        given += [decay.requires_grad_(), write.requires_grad_()]

        def run() -> torch.Tensor:
            return layer.rule(length, device)(*given, document_ids=ids)[0]
    elif isinstance(layer, ProjectedAttention):

        def run() -> torch.Tensor:
            return layer.attend(*given, x=x, document_ids=ids, cache=None)
    else:
        given = [x]

        def run() -> torch.Tensor:
            return layer(x, document_ids=ids)

    up = torch.randn_like(run())
    learned = [weight for weight in layer.parameters() if weight.requires_grad]

    def once() -> None:
        torch.autograd.grad(run(), [*given, *learned], up, allow_unused=True)

    return once


def timed(run: Callable[[], None], dense: Callable[[], None], rounds: int, device: torch.device) -> tuple[float, float]:
    """Median seconds of both, which take turns."""
    seconds: dict[Callable[[], None], list[float]] = {run: [], dense: []}
    for turn in range(WARM_UP + rounds):
        for one in (dense, run):
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            start = time.perf_counter()
            one()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if turn >= WARM_UP:
                seconds[one].append(time.perf_counter() - start)
    return statistics.median(seconds[run]), statistics.median(seconds[dense])


def report(result: dict[str, Any]) -> None:
    """Print a table for each length."""
    print(
        f"{result['processor']}, {result['threads']} threads, torch {result['torch']}, {result['dtype']}: batch"
        f" {result['batch']}, {result['heads']} heads of {result['head_width']}, medians of {result['rounds']}"
        f"{', titles of 12 tokens' if result['documents'] else ''}"
    )
    for length, table in result["lengths"].items():
        width = max(map(len, table))
        print(f"\n{length} tokens\n{'variant':<{width}}  {'auto':<9} {'to dense':>8}  every backend")
        for name, row in table.items():
            all_ = "  ".join(
                f"{backend} {row['ratios'][backend]:.2f} ({value:.1f} ms)"
                for backend, value in row["milliseconds"].items()
            )
            print(f"{name:<{width}}  {row['auto']:<9} {row['ratio_to_dense']:>8.2f}  {all_}")


if __name__ == "__main__":
    program(main)
