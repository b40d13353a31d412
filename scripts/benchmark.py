"""Time this project's training step beside a naive one: `python scripts/benchmark.py`; `--help` lists the sizes."""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

import argparse
import copy
import functools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from frontpage.attention.causal import CausalAttention
from frontpage.command.arguments import Arguments, number, save_json
from frontpage.command.errors import UserError
from frontpage.command.progress_line import watched
from frontpage.evaluation.losses import next_token_loss
from frontpage.machine.accelerator import find_accelerator
from frontpage.machine.allocator import keep_freed_memory
from frontpage.machine.flops import matmul_peak, training_flops_per_token
from frontpage.machine.peak_memory import peak_memory, start_counting
from frontpage.machine.precision import product_type, settle_precision
from frontpage.machine.processor import processor_name
from frontpage.models.gpt import GPT
from frontpage.models.naive_gpt import NaiveGPT
from frontpage.recipe.compiling import worth_compiling

WARM_UP = 2  # rounds that are not counted
SIZES = {"vocab": 16_000, "block": 128, "batch": 64, "layers": 6, "width": 512, "heads": 8}  # 27,172,864 parameters
Step = Callable[[], Tensor]


def main() -> None:
    """Time both in turn, with a matrix product between them, and measure the memory of each in its own process."""
    parser = Arguments(
        "Time a training step of this project beside a naive one, in one process.", ("speedup", "reference", "ours")
    )
    for name, default in SIZES.items():
        parser.add_argument(f"--{name}", type=number(int, 1), default=default, help=f"default {default}")
    parser.add_argument("--rounds", type=number(int, 1), default=5, help="of which the median is taken (default 5)")
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda or mps")
    parser.add_argument("--precision", default="auto", help="of our step: auto (default), 32-true, bf16-mixed")
    parser.add_argument("--checkpointing", action="store_true", help="activation checkpointing in our step")
    compile_help = "torch.compile of our net, timed uncompiled, too (default: as model.compile=auto)"
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, help=compile_help)
    parser.add_argument("--memory-of", choices=["reference", "ours"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.width % arguments.heads:
        raise UserError(f"--heads={arguments.heads}: must divide --width={arguments.width}")
    device = torch.device(find_accelerator(arguments.device, "--device"))
    arguments.precision = str(settle_precision(arguments.precision, device.type))
    arguments.compile = worth_compiling(device) if arguments.compile is None else arguments.compile
    if arguments.memory_of:
        print(json.dumps(memory_of(arguments, device)))
        return
    result = measure(arguments, device)
    for side in watched(("reference", "ours"), "memory, each in its own process", (1, 1)):
        result[side]["peak_memory_bytes"] = in_own_process(side, arguments)
    report(result)
    save_json(arguments.json, result)


def measure(arguments: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Medians of steps that take turns (`eager`: ours, not compiled), and of the matrix products between them."""
    kept = device.type == "cpu" and keep_freed_memory()  # as train.py does
    steps, net = both(arguments, device)
    product = functools.partial(matmul_seconds, device, product_type(arguments.precision))
    all_seconds: dict[str, list[float]] = {name: [] for name in (*steps, "product")}
    rounds = WARM_UP + arguments.rounds
    for _ in watched(range(rounds), "rounds", [1] * rounds):
        for name, step in [*steps.items(), ("product", None)]:
            all_seconds[name].append(product() if step is None else timed(step, device))
    seconds = {name: times[WARM_UP:] for name, times in all_seconds.items()}
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    tokens, peak = arguments.batch * arguments.block, 2.0 * 2048**3 / medians["product"]
    flops = tokens * training_flops_per_token(net, arguments.block)
    result = {
        "processor": processor_name(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        **{name: getattr(arguments, name) for name in SIZES},
        "precision": arguments.precision,
        "checkpointing": arguments.checkpointing,
        "compile": arguments.compile,
        "rounds": arguments.rounds,
        "kept_freed_memory": kept,
        "speedup": medians["reference"] / medians["ours"],
        "matmul_peak_flops": peak,
        "fp32_matmul_peak_flops": matmul_peak(device, torch.float32, 2048, patience=2.0),
        "model_flops_utilization": flops / medians["ours"] / peak,
    }
    if arguments.compile:
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


def both(arguments: argparse.Namespace, device: torch.device, of: str | None = None) -> tuple[dict[str, Step], GPT]:
    """A step of each (or of one) with equal weights on the same batch, and our net."""
    torch.manual_seed(0)
    sizes = arguments.vocab, arguments.block, arguments.width, arguments.layers, arguments.heads
    checkpointing = "full" if arguments.checkpointing else "none"
    net = GPT(*sizes, attention=CausalAttention, dropout=0.1, activation_checkpointing=checkpointing)
    tokens = torch.randint(arguments.vocab, (arguments.batch, arguments.block + 1)).to(device)
    inputs, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    steps: dict[str, Step] = {}
    if of != "ours":
        naive = NaiveGPT(*sizes, dropout=0.1)
        naive.take_weights(net)
        naive.to(device)
        steps["reference"] = naive_step(naive, inputs, targets)
    if of != "reference":
        net.to(device)
        if arguments.compile and of is None:
            eager = argparse.Namespace(**vars(arguments) | {"compile": False})
            steps["eager"] = our_step(copy.deepcopy(net), inputs, targets, eager)
        steps["ours"] = our_step(net, inputs, targets, arguments)
    return steps, net


def naive_step(net: NaiveGPT, inputs: Tensor, targets: Tensor) -> Step:
    """fp32, attention weights as tensors, all logits at once, eager, the default AdamW."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4)

    def step() -> Tensor:
        loss = net(inputs, targets)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        return loss.detach()

    return step


def our_step(net: GPT, inputs: Tensor, targets: Tensor, arguments: argparse.Namespace) -> Step:
    """What LanguageModule and Lightning do in a step, without them."""
    if arguments.precision == "bf16-true":
        net.to(torch.bfloat16)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, fused=True)
    hidden = torch.compile(net.hidden) if arguments.compile else net.hidden
    mixed = arguments.precision == "bf16-mixed"

    def step() -> Tensor:
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=mixed):
            loss = next_token_loss(hidden(inputs), net.head.weight, targets)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        return loss.detach()

    return step


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


def memory_of(arguments: argparse.Namespace, device: torch.device) -> int:
    """Bytes by which three steps raise this process's memory above its start, weights and optimizer among them."""
    if device.type == "cpu":
        keep_freed_memory()
    start_counting(device)
    steps, _ = both(arguments, device, of=arguments.memory_of)
    for _ in range(3):
        steps[arguments.memory_of]()
    return peak_memory(device)


def in_own_process(side: str, arguments: argparse.Namespace) -> int:
    """`memory_of` one side in a process that does nothing else."""
    command = [sys.executable, __file__, "--memory-of", side, "--precision", arguments.precision]
    command += ["--device", arguments.device, *["--checkpointing"] * arguments.checkpointing]
    command += ["--compile" if arguments.compile else "--no-compile"]
    for name in SIZES:
        command += [f"--{name}", str(getattr(arguments, name))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(json.loads(done.stdout.splitlines()[-1]))


def report(result: dict[str, Any]) -> None:
    """Print both sides below each other."""
    print(
        f"{result['processor']}, {result['threads']} threads, torch {result['torch']}:"
        f" {result['parameters']:,} parameters, {result['batch']} x {result['block']} tokens a step,"
        f" medians of {result['rounds']}\n"
    )
    print(f"{'':<12}{'seconds':>9}{'tokens/s':>10}{'GFLOP/s':>9}{'peak memory':>14}")
    for side, name in (("reference", "naive, fp32"), ("ours", f"ours, {result['precision']}")):
        row = result[side]
        print(
            f"{name:<17}{row['seconds']:>4.3g}{row['tokens_per_second']:>10,.0f}"
            f"{row['model_flops_per_second'] / 1e9:>9,.0f}{row['peak_memory_bytes'] / 2**30:>10.2f} GiB"
        )
    less = result["reference"]["peak_memory_bytes"] / result["ours"]["peak_memory_bytes"]
    print(
        f"\n{result['speedup']:.2f} times as fast, {less:.2f} times less memory;"
        f" {result['model_flops_utilization']:.1%} of the matrix peak in it"
        f" ({result['matmul_peak_flops'] / 1e9:,.0f} GFLOP/s; fp32 {result['fp32_matmul_peak_flops'] / 1e9:,.0f})"
    )
    if result["compile"]:
        print(
            f"torch.compile: {result['compile_speedup']:.2f} times as fast as our step without it"
            f" ({result['eager']['seconds']:.3g} s); the first step takes {result['compile_seconds']:.0f} s more"
        )


if __name__ == "__main__":
    program(main)
