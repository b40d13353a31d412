"""A training step of this project and a naive one, timed in turn, and the memory of each in its own process."""

import copy
import functools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from frontpage.attention.causal import CausalAttention
from frontpage.command.progress_line import watched
from frontpage.evaluation.losses import next_token_loss
from frontpage.machine.allocator import keep_freed_memory
from frontpage.machine.flops import matmul_peak, training_flops_per_token
from frontpage.machine.peak_memory import peak_memory, start_counting
from frontpage.machine.precision import product_type
from frontpage.machine.processor import processor_name
from frontpage.models.gpt import GPT
from frontpage.models.naive_gpt import NaiveGPT
from frontpage.recipe.compiling import worth_compiling

WARM_UP = 2  # rounds that are not counted
Step = Callable[[], Tensor]


class Sizes(NamedTuple):
    """Of the net (vocabulary and block in tokens, layers, width, heads) and of the batch; 27,172,864 parameters."""

    vocab: int = 16_000
    block: int = 128
    batch: int = 64
    layers: int = 6
    width: int = 512
    heads: int = 8


class Settings(NamedTuple):
    """What is compared, on the device `device`; `precision`, `checkpointing` and `compile` are those of our step."""

    sizes: Sizes
    rounds: int
    device: str
    precision: str
    checkpointing: bool
    compile: bool | None  # null: where it is worth it


def measure_all(settings: Settings) -> dict[str, Any]:
    """The times of `measure` and the bytes of each side."""
    if settings.compile is None:
        settings = settings._replace(compile=worth_compiling(torch.device(settings.device)))
    result = measure(settings)
    for side in watched(("reference", "ours"), "memory, each in its own process", (1, 1)):
        result[side]["peak_memory_bytes"] = in_own_process(side, settings)
    return result


def measure(settings: Settings) -> dict[str, Any]:
    """Medians of steps that take turns (`eager`: ours, not compiled), and of the matrix products between them."""
    sizes, device = settings.sizes, torch.device(settings.device)
    kept = device.type == "cpu" and keep_freed_memory()  # as train.py does
    steps, net = both(settings)
    product = functools.partial(matmul_seconds, device, product_type(settings.precision))
    all_seconds: dict[str, list[float]] = {name: [] for name in (*steps, "product")}
    rounds = WARM_UP + settings.rounds
    for _ in watched(range(rounds), "rounds", [1] * rounds):
        for name, step in [*steps.items(), ("product", None)]:
            all_seconds[name].append(product() if step is None else timed(step, device))
    seconds = {name: times[WARM_UP:] for name, times in all_seconds.items()}
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    tokens, peak = sizes.batch * sizes.block, 2.0 * 2048**3 / medians["product"]
    flops = tokens * training_flops_per_token(net, sizes.block)
    result = {
        "processor": processor_name(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        **sizes._asdict(),
        "precision": settings.precision,
        "checkpointing": settings.checkpointing,
        "compile": settings.compile,
        "rounds": settings.rounds,
        "kept_freed_memory": kept,
        "speedup": medians["reference"] / medians["ours"],
        "matmul_peak_flops": peak,
        "fp32_matmul_peak_flops": matmul_peak(device, torch.float32, 2048, patience=2.0),
        "model_flops_utilization": flops / medians["ours"] / peak,
    }
    if settings.compile:
        result["compile_speedup"] = medians["eager"] / medians["ours"]
        result["compile_seconds"] = all_seconds["ours"][0] - medians["ours"]
    for side in steps:
        result[side] = {
            "seconds": medians[side],
            "all_seconds": seconds[side],
            "tokens_per_second": tokens / medians[side],
            "model_flops_per_second": flops / medians[side],
        }
    return result


def both(settings: Settings, of: str | None = None) -> tuple[dict[str, Step], GPT]:
    """A step of each (or of one) with equal weights on the same batch, and our net."""
    torch.manual_seed(0)
    vocab, block, batch, layers, width, heads = settings.sizes
    sizes, device = (vocab, block, width, layers, heads), torch.device(settings.device)
    checkpointing = "full" if settings.checkpointing else "none"
    net = GPT(*sizes, attention=CausalAttention, dropout=0.1, activation_checkpointing=checkpointing)
    tokens = torch.randint(vocab, (batch, block + 1)).to(device)
    inputs, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    steps: dict[str, Step] = {}
    if of != "ours":
        naive = NaiveGPT(*sizes, dropout=0.1)
        naive.take_weights(net)
        naive.to(device)
        steps["reference"] = naive_step(naive, inputs, targets)
    if of != "reference":
        net.to(device)
        if settings.compile and of is None:
            steps["eager"] = our_step(copy.deepcopy(net), inputs, targets, settings._replace(compile=False))
        steps["ours"] = our_step(net, inputs, targets, settings)
    return steps, net


def naive_step(net: NaiveGPT, inputs: Tensor, targets: Tensor) -> Step:
    """fp32, attention weights as tensors, all logits at once, eager, the default AdamW."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4)

    def step() -> Tensor:
        return updated(net, optimizer, net(inputs, targets))

    return step


def our_step(net: GPT, inputs: Tensor, targets: Tensor, settings: Settings) -> Step:
    """What LanguageModule and Lightning do in a step, without them."""
    if settings.precision == "bf16-true":
        net.to(torch.bfloat16)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, fused=True)
    hidden = torch.compile(net.hidden) if settings.compile else net.hidden
    mixed = settings.precision == "bf16-mixed"

    def step() -> Tensor:
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=mixed):
            loss = next_token_loss(hidden(inputs), net.head.weight, targets)
        return updated(net, optimizer, loss)

    return step


def updated(net: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor) -> Tensor:
    """The loss, after the update by its gradient, which is clipped."""
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optimizer.step()
    return loss.detach()


def timed(step: Step, device: torch.device) -> float:
    """Seconds of one step."""
    synchronise(device)
    start = time.perf_counter()
    step()
    synchronise(device)
    return time.perf_counter() - start


def matmul_seconds(device: torch.device, kind: torch.dtype) -> float:
    """Of one product of 2048-wide squares."""
    return 2.0 * 2048**3 / matmul_peak(device, kind, 2048, repeats=1, patience=1.0)


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was asked to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def memory_of(side: str, settings: Settings) -> int:
    """Bytes by which three steps raise this process's memory above its start, weights and optimizer among them."""
    import torch._dynamo  # before counting starts: optimizers import it at their first step

    device = torch.device(settings.device)
    if device.type == "cpu":
        keep_freed_memory()
    start_counting(device)
    steps, _ = both(settings, of=side)
    for _ in range(3):
        steps[side]()
    return peak_memory(device)


def in_own_process(side: str, settings: Settings) -> int:
    """`memory_of` one side in a process that does nothing else."""
    command = [sys.executable, "-m", __spec__.name, json.dumps([side, settings.sizes, *settings[1:]])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    asked, net_sizes, *others = json.loads(sys.argv[1])
    print(memory_of(asked, Settings(Sizes(*net_sizes), *others)))
