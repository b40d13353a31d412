"""How much memory an experiment needs, and which batch fits: `python scripts/memory.py experiment=quickstart`."""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

import functools
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from frontpage.attention.kernels.describe import check_backends
from frontpage.command.arguments import Arguments, number, save_json
from frontpage.command.build import build
from frontpage.command.config_folder import CONFIGS
from frontpage.command.errors import UserError
from frontpage.machine.accelerator import find_accelerator
from frontpage.machine.peak_memory import GIB
from frontpage.machine.precision import settle_precision
from frontpage.recipe.language_module import LanguageModule
from frontpage.training.memory.estimate import (
    CUDA_CONTEXT,
    CUDA_SLACK,
    estimate_training,
    explain_step,
    generation_bytes,
    largest_batch,
)
from frontpage.training.preflight import check_config

MIB = 2**20
STATES = {"none": "no activation checkpointing", "full": "activation checkpointing of every block"}
CPU = torch.device("cpu")  # whose kernels are traced
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
    parser.add_argument("--fits", type=numbers(float, 0.1), default=[], metavar="GIB,...", help=sizes)
    parser.add_argument("--titles", type=numbers(int, 1), default=[1, 100], help="generated at a time: 1,100")
    lengths = "tokens of a generated title, at most data.block_size, the default"
    parser.add_argument("--lengths", type=numbers(int, 1), metavar="TOKENS,...", help=lengths)
    arguments = parser.parse_intermixed_args()
    config = composed(arguments.overrides)
    check_config(config)
    longest = max(arguments.lengths or [1])
    if longest > config.data.block_size:
        raise UserError(f"--lengths {longest}: at most data.block_size={config.data.block_size}")
    module = on_meta(config)
    check_backends(module.net, config.data.block_size, CPU, documents=config.model.document_mask)
    result = training(config, module) | {
        "generation": generation(config, arguments.titles, arguments.lengths),
        "fits": {f"{card:g}": fits(config, card) for card in arguments.fits},
    }
    report(config, result)
    save_json(arguments.json, result)


def numbers(kind: type, least: float) -> Any:
    """An argument type: several numbers of at least `least`, with commas between them."""
    one = number(kind, least)
    return lambda text: [one(part) for part in text.split(",")]


def composed(overrides: list[str]) -> DictConfig:
    """What the command line of train.py would compose."""
    with initialize_config_dir(CONFIGS):
        config = compose("train", overrides=["paths.run_dir=none", *overrides])
    if config.trainer.precision == "auto":
        config.trainer.precision = settle_precision("auto", find_accelerator("auto"))
    return config


def on_meta(config: DictConfig) -> LanguageModule:
    """The model without numbers, with as many tokens as the tokenizer may have."""
    with torch.device("meta"):
        return build(config.model, "model", vocab_size=config.tokenizer.vocab_size)


def estimate(config: DictConfig, module: LanguageModule, batch_size: int | None = None, card: bool = False) -> Any:
    """The memory of training a micro-batch (null: the config's); on a CUDA `card`, or here."""
    return estimate_training(
        module.net,
        module.make_optimizer,
        batch_size or config.data.batch_size,
        config.data.block_size,
        precision=config.trainer.precision,
        document_mask=config.model.document_mask,
        card=card,
    )


def training(config: DictConfig, module: LanguageModule) -> dict[str, Any]:
    """The parts of a training step, and the totals with and without activation checkpointing."""
    step = explain_step(
        module.net,
        config.data.batch_size,
        config.data.block_size,
        precision=config.trainer.precision,
        document_mask=config.model.document_mask,
    )
    totals = {}
    for state in STATES:
        changed = config.copy()
        changed.model.activation_checkpointing = state
        totals[state] = estimate(changed, on_meta(changed))._asdict()
    return {
        "parameters": sum(weight.numel() for weight in module.net.parameters()),
        "training": estimate(config, module)._asdict(),
        "activation_checkpointing": totals,
        "layers": [layer._asdict() for layer in step.layers],
        "casts": step.casts,
        "chunked_loss": step.chunked_loss,
        "plain_loss": step.plain_loss,
    }


def generation(config: DictConfig, titles: list[int], lengths: list[int] | None = None) -> list[dict[str, Any]]:
    """Weights and caches of every attention variant in the model of the config; why not, where its sizes do not fit.

    A row for each variant and each of `lengths` in tokens (None: the block's). The config's own variant has the
    config's knobs, the others have their defaults.
    """
    rows = []
    for path in sorted(Path(CONFIGS, "model", "attention").glob("*.yaml")):
        changed, variant = config.copy(), OmegaConf.load(path)
        if variant._target_ != config.model.attention._target_:
            changed.model.attention = variant
        try:
            net = on_meta(changed).net
        except UserError as error:
            net, refused = None, str(error)
        for length in lengths or [config.data.block_size]:
            row: dict[str, Any] = {"attention": path.stem, "length": length}
            if net is None:
                row["refused"] = refused
            else:
                row["weights"] = generation_bytes(net, 1, length)[0]
                row["caches"] = {str(many): generation_bytes(net, many, length)[1] for many in titles}
            rows.append(row)
    return rows


def fits(config: DictConfig, card: float) -> dict[str, int]:
    """The largest micro-batch on a card of so many GiB, with and without activation checkpointing."""
    found = {}
    for state in STATES:
        changed = config.copy()
        changed.model.activation_checkpointing = state
        module = on_meta(changed)
        needed = functools.cache(lambda batch, c=changed, m=module: estimate(c, m, batch, card=True).on_card())
        found[state] = largest_batch(needed, int(card * GIB))
    return found


def report(config: DictConfig, result: dict[str, Any]) -> None:
    """Print everything."""
    data, parts = config.data, result["training"]
    print(
        f"{config.name}: {result['parameters']:,} parameters, micro-batch {data.batch_size} x {data.block_size} tokens,"
        f" precision {config.trainer.precision}, activation_checkpointing {config.model.activation_checkpointing}\n\n"
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
