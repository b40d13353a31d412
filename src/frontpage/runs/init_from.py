"""`init_from`: a new run from the weights of another one, under that one's tokenizer."""

import re
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from frontpage.command.errors import BadValue, UserError
from frontpage.command.notices import notice
from frontpage.data.run_data import RunData
from frontpage.runs.checkpoint import Checkpoint, open_checkpoint, weights_place
from frontpage.runs.provenance import (
    Beginning,
    Provenance,
    differences,
    in_words,
    provenance_around,
    said,
    tokenizer_of,
)

# Under another one of these the weights are noise. What is left, such as the reach of an attention or the base of
# rotary positions, people change on purpose, and training gets used to it: a notice says so.
KEPT = set(
    "model model.n_head model.n_kv_head model.activation model.norm model.norm_position model.positions model.qk_norm"
    " model.bias model.tie_embeddings model.skips".split()
)
ALLOWED = "allowed: what that run had, or init_from=null"
OURS = r"frontpage\.data\.tokenizer\.\w+\.\w+"  # what a checkpoint may name as the `_target_` of its tokenizer


def first_weights(config: DictConfig) -> Checkpoint | None:
    """The weights that `init_from` names, opened; None without it, UserError where a new run cannot start from them."""
    if config.init_from is None:
        return None
    weights = open_checkpoint(weights_place(config.init_from, "init_from"), "init_from")
    check_init_from(config, weights)
    return weights


def check_init_from(config: DictConfig, weights: Checkpoint) -> None:
    """Raise a UserError unless a new run of `config` can start from `weights`, those that `init_from` names."""
    origin = provenance_around(weights)
    if origin is None:
        return
    _check_asked(config, origin, f"init_from={config.init_from}")
    found = {key: pair for key, pair in _changed(config, origin).items() if key in KEPT}
    if found.get("model.tie_embeddings") == (True, False):  # two copies of one matrix start as what it was
        del found["model.tie_embeddings"]
    if found:
        raise UserError(f"{said(found)}: not what the weights of init_from={config.init_from} are of\n{ALLOWED}")


def adopt_tokenizer(config: DictConfig, data: RunData, weights: Checkpoint, continued: bool) -> Beginning:
    """Give `data` the tokenizer of the weights that a run starts from; where these came from.

    `init_from` brings its origin's whole vocabulary, and a run that is `continued` keeps what it had so.
    `config.tokenizer` becomes what once made it. Notices say so, and which settings change what the weights compute.
    Raises UserError for another tokenizer that was asked for.
    """
    origin = provenance_around(weights)
    if continued:
        if origin is None or not origin.tokenizer_taken:
            return Beginning() if origin is None else Beginning(origin.started_from)
        beginning = Beginning(origin.started_from, tokenizer_taken=True)
        _check_asked(config, origin, f"ckpt_path={config.ckpt_path}")
    else:
        beginning = Beginning(str(weights.path.resolve()), origin is not None)
        if origin is None:
            notice(
                f"init_from={config.init_from}: neither this checkpoint nor a run's directory around it holds a"
                " tokenizer and settings; a tokenizer is trained on the new titles, under which its weights may mean"
                " nothing"
            )
            return beginning
        _say_what_comes_with_it(config, origin)
    data.make_tokenizer = tokenizer_of(origin)
    values = {name: value for name, value in origin.tokenizer_settings.items() if not name.startswith("_")}
    target = str(origin.tokenizer_settings.get("_target_"))
    # What a file from elsewhere says is not run: no other class, and nothing that is more than a number.
    if re.fullmatch(OURS, target) and all(value is None or isinstance(value, int | float) for value in values.values()):
        OmegaConf.update(config, "tokenizer", {"_target_": target, "_partial_": True, **values}, merge=False)
    return beginning


def _check_asked(config: DictConfig, origin: Provenance, source: str) -> None:
    """Raise a UserError where the command line asks for a tokenizer that is not the origin's."""
    if not HydraConfig.initialized():
        return
    before, size = origin.tokenizer_settings, tokenizer_of(origin)([]).vocab_size
    for override in HydraConfig.get().overrides.task:
        key = override.lstrip("+").partition("=")[0]
        group, _, name = key.partition(".")
        if group != "tokenizer":
            continue
        now = config.tokenizer.get(name) if name else in_words(OmegaConf.to_container(config.tokenizer))
        if not name:
            fits = now == in_words(before)
        elif name == "vocab_size":  # an upper limit
            fits = now is None or now >= size
        else:
            fits = now == before.get(name)
        if not fits:
            allowed = f"the tokenizer comes with the weights of {source}: {in_words(before)}, {size:,} tokens"
            raise BadValue(key, now, f"{allowed}; leave {key} out")


def _say_what_comes_with_it(config: DictConfig, origin: Provenance) -> None:
    size, kind = tokenizer_of(origin)([]).vocab_size, in_words(origin.tokenizer_settings)
    asked = in_words(OmegaConf.to_container(config.tokenizer))
    unused = "" if asked == kind else f" in place of tokenizer={asked}"
    limit = config.tokenizer.get("vocab_size")
    if not unused and limit is not None and limit < size:
        unused = f" in place of tokenizer.vocab_size={limit}"
    notice(
        f"init_from={config.init_from}: the tokenizer comes with the weights ({kind}, all its {size:,} tokens){unused};"
        " none is trained on the new titles"
    )
    found = _changed(config, origin)
    if found:
        notice(f"init_from={config.init_from}: its weights were trained with other settings: {said(found)}")


def _changed(config: DictConfig, origin: Provenance) -> dict[str, tuple[Any, Any]]:
    """What the weights compute, or were trained on, otherwise in the new run: {key: (before, now)}."""
    now: Any = OmegaConf.to_container(config.model, resolve=True)
    found = differences(origin.model, now)
    masks = (origin.model.get("document_mask", True), now.get("document_mask", True))
    return found | ({"model.document_mask": masks} if masks[0] != masks[1] else {})
