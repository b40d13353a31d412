"""The memory of a config: the parts of a training step, generation by attention, the batches that fit."""

import functools
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from frontpage.attention.kernels.describe import check_backends
from frontpage.command.build import build
from frontpage.command.config_folder import CONFIGS
from frontpage.command.errors import UserError
from frontpage.machine.accelerator import find_accelerator
from frontpage.machine.peak_memory import GIB
from frontpage.machine.precision import settle_precision
from frontpage.recipe.language_module import LanguageModule
from frontpage.recipe.precision.mode import mode_of
from frontpage.training.memory.estimate import estimate_training, explain_step, generation_bytes, largest_batch
from frontpage.training.preflight import check_config

STATES = {"none": "no activation checkpointing", "full": "activation checkpointing of every block"}
CPU = torch.device("cpu")  # whose kernels are traced


def memory_of(
    config: DictConfig, cards: list[float], titles: list[int], lengths: list[int] | None = None
) -> dict[str, Any]:
    """Bytes of training, and of generating `titles` at a time of up to `lengths` tokens; batches on cards, in GiB.

    UserError for a config that cannot be trained here.
    """
    check_config(config)
    longest = max(lengths or [1])
    if longest > config.data.block_size:
        raise UserError(f"--lengths {longest}: at most data.block_size={config.data.block_size}")
    module = on_meta(config)
    check_backends(module.net, config.data.block_size, CPU, documents=config.model.document_mask)
    return training(config, module) | {
        "generation": generation(config, titles, lengths),
        "fits": fits(config, cards),
    }


def composed(overrides: list[str]) -> DictConfig:
    """What the command line of train.py would compose."""
    with initialize_config_dir(CONFIGS):
        config = compose("train", overrides=["paths.run_dir=none", *overrides])
    if config.trainer.precision == "auto" and config.get("precision") is None:
        config.trainer.precision = settle_precision("auto", find_accelerator("auto"))
    return config


def precision_of(config: DictConfig) -> str:
    """Lightning's precision, which a mode may name."""
    mode = mode_of(config)
    return config.trainer.precision if mode is None else mode.lightning


def on_meta(config: DictConfig) -> LanguageModule:
    """The model without numbers, with as many tokens as the tokenizer may have."""
    with torch.device("meta"):
        module = build(config.model, "model", vocab_size=config.tokenizer.vocab_size)
    module.train_in(mode_of(config))
    return module


def estimate(config: DictConfig, module: LanguageModule, batch_size: int | None = None, card: bool = False) -> Any:
    """The memory of training a micro-batch (null: the config's); on a CUDA `card`, or here."""
    return estimate_training(
        module.net,
        module.make_optimizer,
        batch_size or config.data.batch_size,
        config.data.block_size,
        precision=precision_of(config),
        document_mask=config.model.document_mask,
        card=card,
        loss=module.planned_loss,
        passes=module.passes,
        mode=module.precision_mode,
    )


def training(config: DictConfig, module: LanguageModule) -> dict[str, Any]:
    """The parts of a training step, and the totals with and without activation checkpointing."""
    step = explain_step(
        module.net,
        config.data.batch_size,
        config.data.block_size,
        precision=precision_of(config),
        document_mask=config.model.document_mask,
    )
    totals = {}
    for state in STATES:
        changed = config.copy()
        changed.model.activation_checkpointing = state
        totals[state] = estimate(changed, on_meta(changed))._asdict()
    return {
        "parameters": sum(weight.numel() for weight in module.net.parameters()),
        "training": totals.get(config.model.activation_checkpointing) or estimate(config, module)._asdict(),
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


def fits(config: DictConfig, cards: list[float]) -> dict[str, dict[str, int]]:
    """The largest micro-batch on a card of so many GiB, with and without activation checkpointing, by the card."""
    found: dict[str, dict[str, int]] = {f"{card:g}": {} for card in cards}
    for state in STATES if cards else ():
        changed = config.copy()
        changed.model.activation_checkpointing = state
        module = on_meta(changed)
        needed = functools.cache(lambda batch, c=changed, m=module: estimate(c, m, batch, card=True).on_card())
        for card in cards:  # which are asked about the same batches
            found[f"{card:g}"][state] = largest_batch(needed, int(card * GIB))
    return found
