"""What a run that is continued may change: nothing of it is silent."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
from omegaconf import DictConfig, OmegaConf

from frontpage.checkpoints import load_checkpoint
from frontpage.data.title_data import TitleData
from frontpage.errors import UserError, bad_value
from frontpage.notices import notice
from frontpage.run_directory import read_record, told
from frontpage.runs import masked
from frontpage.stored_config import stored_config
from frontpage.trainer import planned_steps

# These change nothing that a run learns or reports.
FREE = "paths logger ckpt_path init_from test name data.path data.test_path data.cache_dir trainer.default_root_dir"
# These a run keeps, since the checkpoint holds what has become of them, or its place in the data is counted in them.
KEPT = (
    "seed optimizer model.lr_scaling model.lr_scaling_rows data.batch_size data.block_size data.packing_seed"
    " data.repack data.drop_tail trainer.accumulate_grad_batches trainer.devices trainer.limit_train_batches"
    " trainer.overfit_batches"
)
TITLES = "data tokenizer"  # told from other titles by their fingerprint
ALLOWED = "allowed: what the run had, or init_from=... for a new run from its weights"


def check_settings(config: DictConfig, trainer: L.Trainer, data: TitleData, checkpoint: Path) -> None:
    """Say which settings are not those of the run that wrote `checkpoint`; UserError for those that it must keep.

    They are compared with `config.yaml` and `run.json` of that run; where these are gone, a notice says so.
    """
    step, planned = load_checkpoint(checkpoint, "ckpt_path")["global_step"], planned_steps(trainer, data)
    if planned < step:
        allowed = f"stands at update {step}; trainer.max_epochs and trainer.max_steps end the run at {planned}"
        raise bad_value("ckpt_path", checkpoint, allowed)
    directory = checkpoint.parent.parent
    titles = told(read_record(directory), "data", "fingerprint")
    written = directory / "config.yaml"
    if titles is None or not written.is_file():
        notice(f"{directory} holds no config.yaml and run.json: the settings of {checkpoint} cannot be compared")
        return
    before, now = OmegaConf.to_container(stored_config(directory)), masked(config)
    found = {key: f"{key}={_said(new)} (was {_said(old)})" for key, old, new in _differing(before, now)}
    found = {key: text for key, text in found.items() if not _below(key, FREE) and not _source(config, key, found)}
    if titles == data.fingerprint:
        found = {key: text for key, text in found.items() if not _below(key, TITLES) or _below(key, KEPT)}
        kept = [text for key, text in found.items() if _below(key, KEPT)]
    else:
        kept = [text for key, text in found.items() if _below(key, f"{KEPT} {TITLES}")]
        kept = kept or [f"data.path={_said(config.data.path)} (its titles were others)"]
    if kept:
        raise UserError(f"{', '.join(kept)}: a run that is continued keeps these\n{ALLOWED}")
    if found:
        notice(f"the run goes on with other settings than it had: {', '.join(found.values())}")


def _differing(before: Any, now: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(key, old value, new value) of each difference; a node that one side lacks is one."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in dict.fromkeys([*before, *now]):
            yield from _differing(before.get(name), now.get(name), f"{key}.{name}" if key else str(name))
    elif before != now:
        yield key, before, now


def _below(key: str, keys: str) -> bool:
    """Whether `key` is one of `keys`, or lies in one."""
    return any(key == one or key.startswith(f"{one}.") for one in keys.split())


def _source(config: DictConfig, key: str, found: dict[str, str]) -> bool:
    """Whether the value of `key` is made of other keys, which tell the difference."""
    node: Any = OmegaConf.to_container(config, resolve=False)
    for name in key.split("."):
        node = node.get(name) if isinstance(node, dict) else None
    sources = re.findall(r"\$\{([\w.]+)\}", str(node)) if isinstance(node, str) else []
    return bool(sources) and all(source in found or _below(source, FREE) for source in sources)


def _said(value: Any) -> str:
    """A value as a message shows it; a node by its class."""
    if isinstance(value, dict):
        return str(value.get("_target_", "...")).rpartition(".")[2]
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
