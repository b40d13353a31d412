"""Time this project's training step beside a naive one: `python scripts/benchmark.py`; `--help` lists the sizes."""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

import argparse
from typing import Any

from frontpage.analysis.benchmarks.training_step import Settings, Sizes, measure_all
from frontpage.command.arguments import Arguments, number, save_json
from frontpage.command.errors import UserError
from frontpage.machine.accelerator import find_accelerator
from frontpage.machine.precision import settle_precision


def main() -> None:
    """Time both in turn, with a matrix product between them, and measure the memory of each in its own process."""
    parser = Arguments(
        "Time a training step of this project beside a naive one, in one process.", ("speedup", "reference", "ours")
    )
    for name, default in Sizes()._asdict().items():
        parser.add_argument(f"--{name}", type=number(int, 1), default=default, help=f"default {default}")
    parser.add_argument("--rounds", type=number(int, 1), default=5, help="of which the median is taken (default 5)")
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda or mps")
    parser.add_argument("--precision", default="auto", help="of our step: auto (default), 32-true, bf16-mixed")
    parser.add_argument("--checkpointing", action="store_true", help="activation checkpointing in our step")
    compile_help = "torch.compile of our net, timed uncompiled, too (default: as model.compile=auto)"
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, help=compile_help)
    arguments = parser.parse_args()
    if arguments.width % arguments.heads:
        raise UserError(f"--heads={arguments.heads}: must divide --width={arguments.width}")
    device = find_accelerator(arguments.device, "--device")
    sizes = Sizes(*(getattr(arguments, name) for name in Sizes._fields))
    precision = str(settle_precision(arguments.precision, device))
    result = measure_all(
        Settings(sizes, arguments.rounds, device, precision, arguments.checkpointing, arguments.compile)
    )
    report(result)
    save_json(arguments.json, result)


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
