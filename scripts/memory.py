"""How much memory an experiment needs, and which batch fits: `python scripts/memory.py experiment=quickstart`."""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

from typing import Any

from omegaconf import DictConfig

from frontpage.command.arguments import Arguments, number, save_json, several
from frontpage.machine.peak_memory import GIB
from frontpage.training.memory.estimate import CUDA_CONTEXT, CUDA_SLACK
from frontpage.training.memory.tables import STATES, composed, memory_of, precision_of

MIB = 2**20
ASSUMED = (
    "assumed: what the CPU's fused kernels keep, and the optimizer's temporaries of CUDA; attention_dropout above 0 is"
    " counted with the weights as a tensor, as on the CPU, so on CUDA more may fit;"
    f" {CUDA_CONTEXT / GIB:.1f} GiB of context and {CUDA_SLACK:.0%} of allocator slack are added"
)


def main() -> None:
    """Print the memory of training by layer and in total, of generation, and the largest batches."""
    parser = Arguments(
        "Estimate the memory of training and generation, without computing anything.",
        ("parameters", "training", "generation"),
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="as for train.py, e.g. experiment=quickstart")
    sizes = "the largest micro-batch on cards of these GiB, e.g. 8,16,24,40,80"
    parser.add_argument("--fits", type=several(number(float, 0.1)), default=[], metavar="GIB,...", help=sizes)
    parser.add_argument("--titles", type=several(number(int, 1)), default=[1, 100], help="generated at a time: 1,100")
    lengths = "tokens of a generated title, at most data.block_size, the default"
    parser.add_argument("--lengths", type=several(number(int, 1)), metavar="TOKENS,...", help=lengths)
    arguments = parser.parse_intermixed_args()
    config = composed(arguments.overrides)
    result = memory_of(config, arguments.fits, arguments.titles, arguments.lengths)
    report(config, result)
    save_json(arguments.json, result)


def report(config: DictConfig, result: dict[str, Any]) -> None:
    """Print everything."""
    data, parts = config.data, result["training"]
    print(
        f"{config.name}: {result['parameters']:,} parameters, micro-batch {data.batch_size} x {data.block_size} tokens,"
        f" precision {precision_of(config)}, activation_checkpointing {config.model.activation_checkpointing}\n\n"
        f"{'layer':<10} {'width':>6} {'parameters':>12} {'saved MiB':>10} {'checkpointed':>13}"
    )
    for layer in result["layers"]:
        print(
            f"{layer['name']:<10} {layer['width']:>6} {layer['parameters']:>12,} {layer['saved'] / MIB:>10.1f}"
            f" {layer['checkpointed'] / MIB:>13.1f}"
        )
    rows = [
        ("weights", parts["weights"]),
        ("gradients", parts["gradients"]),
        ("optimizer state", parts["optimizer"]),
        ("buffers", parts["buffers"]),
        ("weights cast to half precision", result["casts"]),
        ("loss, logits in chunks", result["chunked_loss"]),
        ("loss, all logits at once (not used)", result["plain_loss"]),
        ("peak of forward and backward pass", parts["step"]),
        ("temporaries of the update", parts["update"]),
        ("total", parts["total"]),
        *((f"total, {STATES[state]}", all_["total"]) for state, all_ in result["activation_checkpointing"].items()),
    ]
    print("\n" + "\n".join(f"{name:<50} {size / MIB:>10.1f} MiB" for name, size in rows))
    lengths = list(dict.fromkeys(row["length"] for row in result["generation"]))
    for row in sorted(result["generation"], key=lambda row: lengths.index(row["length"])):  # a table for each length
        if row["attention"] == result["generation"][0]["attention"]:
            print(f"\ngeneration of up to {row['length']} tokens, fp32: weights, and caches of titles at a time")
        if "refused" in row:
            print(f"{row['attention']:<16} {row['refused']}")
            continue
        caches = "   ".join(f"{many}: {size / MIB:.3f} MiB" for many, size in row["caches"].items())
        print(f"{row['attention']:<16} {row['weights'] / MIB:>9.1f} MiB   {caches}")
    if result["fits"]:
        print("\nlargest micro-batch: card, without and with activation checkpointing")
        for card, found in result["fits"].items():
            print(f"{card:>6} GiB {found['none']:>10,} {found['full']:>10,}")
        print(ASSUMED)


if __name__ == "__main__":
    program(main)
