"""Every attention variant and backend, forward and backward: time, in turn with dense attention, and memory."""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hydra import compose, initialize_config_dir
from torch.nn import functional as F

from frontpage.analysis.benchmarks.peak import peak_bytes
from frontpage.analysis.notebooks.cost import saved_bytes
from frontpage.attention.gated_delta import GatedDeltaAttention
from frontpage.attention.kernels.describe import router_of
from frontpage.attention.kernels.pattern_paths import accelerate
from frontpage.attention.parts.contract import SelfAttention
from frontpage.attention.parts.projected import ProjectedAttention
from frontpage.command.build import build
from frontpage.command.config_folder import CONFIGS
from frontpage.command.errors import BadValue
from frontpage.command.progress_line import watched
from frontpage.machine.accelerator import find_accelerator
from frontpage.machine.allocator import keep_freed_memory
from frontpage.machine.processor import processor_name

WARM_UP = 8  # rounds that are not counted: kernels are compiled, memory is taken
WARM_SECONDS = 2.0  # after which no further round is needed
EXTRA = {  # settings beside a variant's own defaults
    "strided alone": ("strided", {"alternate": "none"}),
    "gated_delta rule": ("gated_delta", {}),  # without the norms of keys, queries and outputs, and without its gates
    "sparsek hard": ("sparsek", {"gate": "hard"}),
    "sparsek soft": ("sparsek", {"gate": "soft"}),
    "sparsek k=32 window=16": ("sparsek", {"k": 32, "window": 16}),
}


class Settings(NamedTuple):
    """Sizes, and what is timed: `only` names the variants beside causal (all), `documents` keeps titles apart.

    `auto_only` leaves out the backends that `auto` does not take, some of which no memory holds for long rows.
    """

    batch: int
    heads: int
    head_width: int
    rounds: int
    documents: bool
    device: str  # cpu or cuda
    only: Sequence[str] | None = None
    auto_only: bool = False


class Step(NamedTuple):
    """A forward pass between the projections, the same with its backward pass, and the layer's own weights."""

    forward: Callable[[], torch.Tensor]
    both: Callable[[], None]
    weights: list[torch.Tensor]


def measure_all(settings: Settings, lengths: Sequence[int]) -> dict[str, Any]:
    """The machine, the settings, and a table of `measure` for each length in tokens; bf16 on CUDA, fp32 elsewhere."""
    device = torch.device(settings.device)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    kept = device.type == "cpu" and keep_freed_memory()  # as train.py does
    tables = {length: measure(settings, length, device, dtype) for length in lengths}
    return {
        "processor": processor_name(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "batch": settings.batch,
        "heads": settings.heads,
        "head_width": settings.head_width,
        "dtype": str(dtype).removeprefix("torch."),
        "documents": settings.documents,
        "freed_memory_kept": kept,
        "rounds": settings.rounds,
        "lengths": tables,
    }


def device_to_time(asked: str) -> str:
    """`cuda` or `cpu`, of `auto` the first that is there; UserError for another, or one that is not there."""
    found = find_accelerator(asked, "--device")
    if found == "mps" and asked != "auto":
        raise BadValue("--device", asked, "auto, cpu or cuda: of MPS neither time nor memory is measured")
    return "cpu" if found == "mps" else found


def measure(settings: Settings, length: int, device: torch.device, dtype: torch.dtype) -> dict[str, dict[str, Any]]:
    """For each variant: its route; of each backend milliseconds, their ratio to dense attention's, bytes saved and at
    the peak; and of the chosen one `ratio_to_dense`, `saved_to_dense`, `peak_to_dense`.
    """
    sizes = {"d_model": settings.heads * settings.head_width, "n_head": settings.heads, "block_size": length}
    ids = None
    if settings.documents:
        ids = (torch.arange(length, device=device) // 12).expand(settings.batch, -1).contiguous()
    runs: dict[tuple[str, str], Step] = {}
    chosen: dict[str, str] = {}
    for name, (option, changed) in variants().items():
        if settings.only and name not in ("causal", *settings.only):
            continue
        layer = variant(option, {**changed, "backend": "auto"}, sizes, device, dtype)
        chosen[name] = router_of(layer).route(length, device, documents=ids is not None)
        for backend in [chosen[name]] if settings.auto_only else layer.backends:
            if router_of(layer).refusal(backend, device, ids is not None, True) is None:
                own = variant(option, {**changed, "backend": backend}, sizes, device, dtype)
                runs[name, backend] = step(own, settings.batch, length, ids, device, dtype, name == "gated_delta rule")
    dense = runs["causal", chosen["causal"]]
    table: dict[str, dict[str, Any]] = {
        name: {"auto": route, "milliseconds": {}, "ratios": {}, "saved_bytes": {}, "peak_bytes": {}}
        for name, route in chosen.items()
    }
    for (name, backend), run in watched(runs.items(), f"{length} tokens", [1] * len(runs)):
        ours, theirs = timed(run.both, dense.both, settings.rounds, device)
        row = table[name]
        row["milliseconds"][backend], row["ratios"][backend] = ours * 1e3, ours / theirs
        row["saved_bytes"][backend] = saved_bytes(run.forward, run.weights)
        row["peak_bytes"][backend] = peak_bytes(run.both, device)
        if backend == chosen[name]:
            row["ratio_to_dense"] = ours / theirs
    for row in table.values():
        for kind in ("saved", "peak"):
            of_dense = table["causal"][f"{kind}_bytes"][chosen["causal"]]
            row[f"{kind}_to_dense"] = row[f"{kind}_bytes"][row["auto"]] / of_dense
    return table


def slopes(tables: dict[int, dict[str, dict[str, Any]]], least: int) -> dict[str, dict[str, float]]:
    """How time and peak memory of what `auto` takes grow with the length, as powers of it: 1 is linear.

    The slopes of least squares through the logarithms at all lengths of at least `least` tokens; no variants where
    these are not two.
    """
    lengths = sorted(length for length in tables if length >= least)
    if len(lengths) < 2:
        return {}
    found: dict[str, dict[str, float]] = {}
    for name in tables[lengths[0]]:
        found[name] = {}
        for what in ("milliseconds", "peak_bytes"):
            values = [tables[length][name][what][tables[length][name]["auto"]] for length in lengths]
            found[name][what] = statistics.linear_regression(
                [math.log(length) for length in lengths], [math.log(value) for value in values]
            ).slope
    return found


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
) -> Step:
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

    return Step(run, once, learned)


def timed(run: Callable[[], None], dense: Callable[[], None], rounds: int, device: torch.device) -> tuple[float, float]:
    """Median seconds of both, which take turns."""
    seconds: dict[Callable[[], None], list[float]] = {run: [], dense: []}
    begin, warm_up = time.perf_counter(), WARM_UP
    for turn in range(WARM_UP + rounds):
        if turn < warm_up and time.perf_counter() - begin > WARM_SECONDS:
            warm_up = turn
        if turn >= warm_up + rounds:
            break
        for one in (dense, run):
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            start = time.perf_counter()
            one()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if turn >= warm_up:
                seconds[one].append(time.perf_counter() - start)
    return statistics.median(seconds[run]), statistics.median(seconds[dense])
