"""What a run that is continued may change: nothing of it is silent."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from omegaconf import DictConfig, OmegaConf

from frontpage.command.errors import BadValue, UserError
from frontpage.command.leaves import leaves
from frontpage.command.notices import notice
from frontpage.data.run_data import RunData
from frontpage.runs.checkpoint import Checkpoint, weights_place
from frontpage.runs.open_run import CurrentRun
from frontpage.runs.provenance import (
    Provenance,
    defaults_of,
    differences,
    in_words,
    provenance_around,
    said,
    same_tokenizer,
)
from frontpage.runs.record import told
from frontpage.runs.run import Run
from frontpage.runs.stored_config import IN_CHECKPOINT, stored_config
from frontpage.runs.training_titles import load_training_titles, title_hashes

# These change nothing that a run learns or reports.
FREE = "paths logger ckpt_path init_from test name data.path data.test_path data.cache_dir trainer.default_root_dir"
FREE += " trainer.num_nodes trainer.timeout"
# These a run keeps, since the checkpoint holds what has become of them, or its place in the data is counted in them.
KEPT = (
    "seed optimizer precision model.lr_scaling model.lr_scaling_rows model.weight_decay_of_others data.batch_size"
    " data.block_size data.packing_seed data.repack data.subword_alpha data.recase data.drop_tail data.text_tokens"
    " data.batch_policy data.task_order tasks data.corruption data.corruption_share"
    " data.seed data.validation_books data.validation_examples"
    " trainer.accumulate_grad_batches trainer.devices trainer.limit_train_batches trainer.overfit_batches"
)
SHARED_OUT = "data.batch_size trainer.devices"  # of which the product counts: rows of a micro-batch over all processes
TITLES = "data tokenizer"  # told from other titles by their fingerprint
ALLOWED = "allowed: what the run had, or init_from=... for a new run from its weights"


def check_model(settings: dict[str, Any], checkpoint: Checkpoint) -> None:
    """Raise a UserError where the weights of `checkpoint` would compute something else under these `settings`, or go
    on in another mode of precision.

    It is asked before the weights and the optimizer are compared, whose differences only follow from it.
    """
    stored = checkpoint.content.get(IN_CHECKPOINT)
    if isinstance(stored, dict):
        modes = tuple((one.get("precision") or {}).get("name") for one in (stored, settings))
        _refuse({} if modes[0] == modes[1] else {"precision": said({"precision": modes})})
    origin = provenance_around(checkpoint)
    if origin is not None:
        _refuse({key: said({key: pair}) for key, pair in differences(origin.model, settings["model"]).items()})


def check_settings(
    config: DictConfig, settings: dict[str, Any], planned: int, data: RunData, checkpoint: Checkpoint, processes: int
) -> None:
    """Say which settings are not those of the run that wrote `checkpoint`; UserError for those that it must keep.

    The `settings` are the config as `masked` gives it, of a run that is `planned` updates long, in so many `processes`.
    They are compared with `config.yaml` and `run.json` of the other one; where these are gone, a notice says so.
    """
    step = checkpoint.update
    if planned < step:
        what = f"stands at update {step}; trainer.max_epochs and trainer.max_steps end the run at {planned}"
        raise checkpoint.mistake(what)
    run = checkpoint.run
    titles = told(run.record, "data", "fingerprint")
    before = OmegaConf.to_container(stored_config(run), resolve=False) if run.config_file.is_file() else {}
    fitted = bool(told(before, "trainer", "fit_batch"))
    if fitted and not config.trainer.get("fit_batch"):  # now it has to name what was found
        before, fitted = _as_fitted(before, run.record), False
    origin = provenance_around(checkpoint)
    _check_init_from(config, before.get("init_from") if origin is None else origin.started_from, checkpoint)
    if titles is None or not before:
        _check_tokenizer(origin, data, checkpoint)
        notice(f"{run.path} holds no config.yaml and run.json: the settings of {checkpoint.path} cannot be compared")
        return
    found = {key: said({key: (old, new)}) for key, old, new in _differing(before, settings)}
    found = {key: text for key, text in found.items() if not _below(key, FREE) and not _source(config, key, found)}
    others = {key: text for key, text in found.items() if _below(key, f"{KEPT} {TITLES}")}
    if titles == data.fingerprint or (not others and _same_titles(run, origin, titles, data)):
        found = {key: text for key, text in found.items() if not _below(key, TITLES) or _below(key, KEPT)}
        kept = {key: text for key, text in found.items() if _below(key, KEPT)}
        rows = _rows_before(before, run.record)
        if rows == data.batch_size * processes and not (fitted and "data.batch_size" in kept):
            kept = {key: text for key, text in kept.items() if not _below(key, SHARED_OUT)}  # the same, in one order
        elif rows is not None and not any(_below(key, SHARED_OUT) for key in kept):  # devices=auto, on others
            kept["trainer.devices"] = f"{data.batch_size * processes} rows of all processes at once (they were {rows})"
    else:
        key = "root" if "root" in config.data else "path"
        kept = others or {f"data.{key}": f"data.{key}={in_words(config.data.get(key))} (its texts were others)"}
    _refuse(kept)
    _check_tokenizer(origin, data, checkpoint)
    if found:
        notice(f"the run goes on with other settings than it had: {', '.join(found.values())}")


def _same_titles(run: Run, origin: Provenance | None, fingerprint: str, data: RunData) -> bool:
    """Whether a run of another version of `tokenizers`, which is a part of its fingerprint, has trained on these texts.

    What its fingerprint says beside the texts, as of links, has to be the same. Titles of a run that began with other
    weights stand beside those of that one: all of these have to be among them.
    """
    wrote, known = told(run.record, "versions", "tokenizers"), load_training_titles(run)
    beside = fingerprint.partition("-")[2] == data.fingerprint.partition("-")[2]
    if wrote in (None, tokenizers.__version__) or known is None or not beside:
        return False
    own = title_hashes(data.training_texts())
    shown = np.unique(np.concatenate([own, title_hashes(data.other_texts())]))  # which older runs did not keep
    taught = any(path.endswith(".teacher") and value for path, value in leaves(told(run.record, "config") or {}))
    more = taught or (origin is not None and origin.started_from is not None)
    equal = np.array_equal(np.unique(own), known) or np.array_equal(shown, known)
    same = bool(np.isin(own, known).all()) if more else equal
    if same:
        notice(f"tokenizers {wrote} has begun the run, and {tokenizers.__version__} goes on, on the same titles")
    return same


def _as_fitted(config: dict[str, Any], record: Any) -> dict[str, Any]:
    """The config of a run with `trainer.fit_batch`, with the micro-batch and the accumulation that it had."""
    asked, many = told(config, "data", "batch_size"), told(config, "trainer", "accumulate_grad_batches")
    micro = told(record, "micro_batch")
    if not all(isinstance(one, int) for one in (asked, micro)) or many is None:
        return config
    several = isinstance(many, list)
    found = [-(-asked * one // micro) for one in (many if several else [many])]  # as fit_batch makes them
    trainer = {**config["trainer"], "accumulate_grad_batches": found if several else found[0], "fit_batch": False}
    return {**config, "data": {**config["data"], "batch_size": micro}, "trainer": trainer}


def _rows_before(config: dict[str, Any], record: Any) -> int | None:
    """Rows of a micro-batch over all processes that a run had; None where that is not known."""
    fitted = told(config, "trainer", "fit_batch")
    rows = told(record, "micro_batch") if fitted else told(config, "data", "batch_size")
    devices = told(config, "trainer", "devices")
    processes = told(record, "world_size")
    if processes is None:  # an older record
        processes = len(devices) if isinstance(devices, list) else devices
    known = type(rows) is int and type(processes) is int
    return rows * processes if known else None


def goes_on(run: CurrentRun, planned: int) -> bool:
    """Whether anything is left to do for a run of `planned` updates; a notice where a finished one is made longer."""
    if run.ended_at is None:
        return True
    if planned <= run.ended_at:
        run.finished = (
            f"all {run.ended_at:,} updates are done, and the smaller of trainer.max_epochs and trainer.max_steps still"
            f" ends it at {planned:,}"
        )
        return False
    notice(
        f"the finished run of {run.ended_at:,} updates goes on to {planned:,}; its schedule is from here on that of"
        f" {planned:,} updates, so the learning rate may rise again"
    )
    return True


def _refuse(kept: dict[str, str]) -> None:
    if kept:
        raise UserError(f"{', '.join(kept.values())}: a run that is continued keeps these\n{ALLOWED}")


def _check_tokenizer(origin: Provenance | None, data: RunData, checkpoint: Checkpoint) -> None:
    """Raise a UserError where the weights belong to another tokenizer than the one that the titles gave."""
    if origin is not None and not same_tokenizer(origin, data.tokenizer):
        what = "its weights belong to another tokenizer than these titles and tokenizer.* give; take the run's own"
        raise checkpoint.mistake(what)


def _check_init_from(config: DictConfig, before: str | None, checkpoint: Checkpoint) -> None:
    """A continued run has started already: say so where `init_from` is what it started from, refuse another one."""
    asked = config.init_from
    if asked is None:
        return
    began = Path(before) if before else None
    if began is not None and began.is_dir():  # as config.yaml names it
        began = Run(began).best
    if began is None or began.resolve() != weights_place(asked, "init_from").resolve():
        allowed = f"null beside ckpt_path: a run that is continued has the weights of {checkpoint.path}"
        raise BadValue("init_from", asked, allowed + (f"; it began with those of {before}" if before else ""))
    notice(f"init_from={asked} is not read again: the run goes on with the weights of {checkpoint.path}")


def _differing(before: Any, now: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(key, old value, new value) of each difference; a node that one side lacks is one, a key that is off is none."""
    if isinstance(before, dict) and isinstance(now, dict):
        newer = defaults_of(str(now.get("_target_")))  # of keys that an older version had not yet
        off = [one for one in now if one not in before and (not now[one] or newer.get(one) == now[one])]
        off += [one for one in before if one not in now and not before[one]]  # a key that is gone, and did nothing
        for name in (one for one in dict.fromkeys([*before, *now]) if one not in off):
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
