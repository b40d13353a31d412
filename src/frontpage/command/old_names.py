"""Names of the original project's configs, and what stands here in their place (docs/migration.md)."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from frontpage.command.errors import BadValue, UserError

PAGE = "docs/migration.md"


class Ours(NamedTuple):
    """What replaces an original key: `key` (a group where it has a slash; None: nothing is needed) of `option`."""

    key: str | None
    option: str  # what has the key, e.g. `model/attention=fixed`; empty where every option has it
    remark: str


OLD_NAMES = {
    # sections
    "hyperparams": Ours(None, "", "its keys are shared out among data, tokenizer, optimizer, scheduler and trainer"),
    "model_configs": Ours(None, "", "model=gpt and model=unet_gpt have keys of their own, model.d_model and so on"),
    "attn_configs": Ours(None, "", "each model/attention=... has keys of its own, model.attention.window and so on"),
    # the run
    "model_architecture": Ours("model", "", "model=gpt or model=unet_gpt"),
    "model_arhitecture": Ours("model", "", "model=gpt or model=unet_gpt"),  # as its class spelt it
    "context_length": Ours("data.block_size", "", "tokens; the model takes the same number"),
    "epochs": Ours("trainer.max_epochs", "", "passes over the training titles"),
    "amp_bool": Ours("trainer.precision", "", "16-mixed (or bf16-mixed) for true, 32-true for false"),
    "log_file": Ours(None, "", "every run keeps its events.jsonl in its own directory, see hydra.run.dir"),
    # its optimizer and schedule, some of which only its code names
    "L1": Ours(None, "", "no penalty of absolute values; optimizer.weight_decay is the decay of matrices"),
    "L2": Ours("optimizer.weight_decay", "", "of matrices; 2 x L2 with an optimizer that adds it to the gradient"),
    "step_size": Ours("scheduler.every", "scheduler=step", "updates, or a share of the run (below 1)"),
    "T_max": Ours(None, "", "a schedule spans the run, which trainer.max_epochs or trainer.max_steps ends"),
    "total_iters": Ours(None, "", "a schedule spans the run, which trainer.max_epochs or trainer.max_steps ends"),
    "eta_min": Ours("scheduler.floor", "", "a share of the peak rate, so eta_min / optimizer.lr"),
    "end_factor": Ours("scheduler.floor", "", "the share of the peak rate at the end"),
    "start_factor": Ours("scheduler.warmup", "", "updates of a linear rise; 0 starts at the peak"),
    "lr_lambda": Ours("scheduler", "", "scheduler=constant for a factor of 1; a shape of its own is a function"),
    # the model
    "hidden_layer": Ours("model.d_model", "", "the width of the residual stream, not of the MLP, which is model.d_ff"),
    "hidden_layer_list": Ours(
        "model.widths", "model=unet_gpt", "a width for each layer, instead of d_model and n_layer"
    ),
    "bottleneck_sizes": Ours(
        "model.widths", "model=unet_gpt", "a width for each layer, instead of d_model and n_layer"
    ),
    "init_method": Ours("model.init", "", "normal, uniform, xavier or kaiming"),
    "norm_type": Ours("model.norm_position", "", "pre or post"),
    "activation_function": Ours("model.activation", "", "gelu, relu, relu2 or swiglu"),
    # its attention
    "attention_layer": Ours("model/attention", "", "causal, or for sparse one of fixed, local and strided, or sparsek"),
    "attn_type": Ours("model/attention", "", "model/attention=fixed, local, strided, or causal for all"),
    "intermediate_dim": Ours("model.attention.d_inner", "", "of each attention; 0 is null, the width of the model"),
    "bottleneck_size": Ours("model.attention.d_inner", "", "of each attention; 0 is null, the width of the model"),
    "local_attn_ctx": Ours(
        "model.attention.window",
        "model/attention=local",
        "or model.attention.block with model/attention=fixed, model.attention.stride with model/attention=strided",
    ),
    "num_verts": Ours("model.attention.groups", "model/attention=fixed", "of heads, each with its own summary tokens"),
    "vertsize": Ours(
        "model.attention.summary",
        "model/attention=fixed",
        "in tokens; vertsize counted blocks, so summary = vertsize * sparseblocksize",
    ),
    "sparseblocksize": Ours(None, "", "patterns are exact to the token and need no block of a kernel"),
    "n_bctx": Ours(None, "", "it was derived, context_length / sparseblocksize, and patterns need no blocks"),
    "epilson": Ours("model.attention.epsilon", "model/attention=sparsek", "the same, spelt right"),
}

# Names that stayed, of keys that only one option has.
STAYED = {"gamma": ("scheduler.gamma", "scheduler=step"), "k": ("model.attention.k", "model/attention=sparsek")}


def in_our_words(key: str) -> str | None:
    """What to write in place of `key` if its name, or the section that it is in, is an original one; else None."""
    parts = re.split(r"[./]", key)
    old = next((part for part in (parts[-1], parts[0]) if part in OLD_NAMES), None)
    if old is None:
        return None
    ours = OLD_NAMES[old]
    new = f"here it is {ours.key}" if ours.key else "nothing takes its place here"
    return (
        f"{old} is the original's name; {new}{f', with {ours.option}' if ours.option else ''}: {ours.remark} ({PAGE})"
    )


def where_it_stands(key: str) -> str:
    """` (did you mean 'x', with y?)` where the key's name stayed, but another option has it; else nothing."""
    place, option = STAYED.get(re.split(r"[./]", key)[-1], (None, None))
    return f" (did you mean '{place}', with {option}?)" if place else ""


def refuse_old_name(key: str, value: object) -> None:
    """Raise a UserError where `in_our_words` has something to say of `key`."""
    words = in_our_words(key)
    if words is not None:
        raise UserError(f"{key}: {words}") if isinstance(value, Mapping) else BadValue(key, value, words)
