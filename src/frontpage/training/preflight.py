"""What is wrong with a config, found before anything is read or built.

The types that a key may have are those of the constructor that takes it, so a new option's keys are checked by
themselves. LIMITS adds the ranges of numbers and the choices that a constructor would notice too late or not at all.
"""

import functools
import inspect
import math
import os
import re
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from frontpage.attention.kernels.describe import check_backends
from frontpage.attention.parts.contract import SelfAttention
from frontpage.attention.parts.pattern import PatternAttention
from frontpage.attention.parts.projected import ProjectedAttention
from frontpage.command.allowed_targets import check_target
from frontpage.command.build import at_key, build
from frontpage.command.config_folder import CONFIGS
from frontpage.command.errors import UserError, bad_value, nearest, require
from frontpage.command.objective import COSTS, HEADLINE, objectives
from frontpage.command.old_names import refuse_old_name
from frontpage.data.files import read_titles
from frontpage.data.scoring_rows import original_tokens_scored
from frontpage.data.title_data import TitleData
from frontpage.data.tokenizer.title_tokenizer import SMALLEST_VOCABULARY
from frontpage.recipe.compiling import check_compiles
from frontpage.recipe.language_module import LanguageModule
from frontpage.recipe.parameter_groups import LR_SCALINGS, optimizer_of
from frontpage.recipe.steps import planned_steps
from frontpage.runs.checkpoints import check_continues
from frontpage.training.callbacks.gradient_noise_scale import GradientNoiseScale
from frontpage.training.callbacks.sample_titles import SampleTitles
from frontpage.training.callbacks.score_test_set import ScoreTestSet
from frontpage.training.init_from import check_init_from
from frontpage.training.memory.feasible import check_size
from frontpage.training.resumed_callbacks import check_callbacks

# Metrics that are not computed at every validation unless this key of the model says so.
METRIC_NEEDS = {"val/mainrun_loss": "original_metric", "val/packed_nats_per_char": "packed_metric"}
ATTENTION = "model.attention"
LARGEST_VOCABULARY = 1_000_000  # the trainer takes the memory for it at once, and ends the process where it cannot
SHARED_ATTENTIONS = (SelfAttention, ProjectedAttention, PatternAttention)
# What an architecture passes to the attention of each layer, and the key that it takes it from.
PASSED = {name: f"model.{name}" for name in "d_model n_head n_kv_head bias rotary_base qk_norm".split()}
PASSED |= {"block_size": "data.block_size", "dropout": "model.attention_dropout", "rotary": "model.positions"}
PASSED |= {"layer": "the place in the net"}


class Limit(NamedTuple):
    """A condition on a value, and the words for it."""

    allowed: str
    holds: Callable[[Any], bool]
    keys: str  # separated by blanks


def _one_of(choices: str) -> tuple[str, Callable[[Any], bool]]:
    """The first two parts of a Limit."""
    return f"one of {choices}", lambda value: str(value) in choices.split()


PRECISIONS = _one_of("auto 32-true 64-true bf16-mixed bf16-true 16-mixed 16-true 32 64 bf16")
METRICS = "val/nats_per_char val/loss val/perplexity val/bits_per_byte " + " ".join(METRIC_NEEDS)
OBJECTIVES = (
    f"one of {METRICS}, or a list of them and of {' '.join(COSTS)}",
    lambda asked: (
        asked in METRICS.split()
        if isinstance(asked, str)
        else len(asked) > 0 and all(one in (*METRICS.split(), *COSTS) for one in asked)
    ),
)
DURATION = (
    "DD:HH:MM:SS, not all 0",
    lambda text: isinstance(text, dict) or bool(re.fullmatch(r"(?=.*[1-9])\d+(:\d\d?){3}", text)),
)
LIMITS = [
    Limit("not empty", lambda text: text != "", "name ckpt_path init_from data.path data.test_path data.column"),
    Limit("no blank at its beginning", lambda text: text == text.lstrip(), "callbacks.sample_titles.prompt"),
    Limit(*OBJECTIVES, "objective"),
    Limit(*PRECISIONS, "trainer.precision"),
    Limit(*DURATION, "trainer.max_time"),
    Limit(
        "from 0 to 4294967295",
        lambda seed: 0 <= seed < 2**32,
        "seed data.seed data.packing_seed callbacks.sample_titles.seed",
    ),
    Limit(
        "at least 1",
        lambda count: count >= 1,
        "log_interval val_interval save_interval data.num_titles data.max_titles data.block_size data.batch_size"
        " data.evaluation_tokens data.evaluation_row tokenizer.max_piece_length trainer.max_epochs trainer.max_steps"
        " trainer.accumulate_grad_batches trainer.evals_per_epoch model.d_model model.n_head"
        " model.n_kv_head model.d_ff callbacks.sample_titles.top_k"
        " callbacks.sample_titles.max_tokens callbacks.loss_spike.window model.lr_scaling_rows"
        " callbacks.early_stopping.patience callbacks.gradient_noise_scale.every logger.csv.flush_every",
    ),
    Limit(
        "at least 0",
        lambda number: 0 <= number < math.inf,
        "optimizer.lr optimizer.weight_decay optimizer.lr_decay optimizer.adamw_lr"
        " optimizer.initial_accumulator_value scheduler.warmup scheduler.decay tokenizer.min_frequency"
        " model.init_std callbacks.sample_titles.temperature callbacks.progress.seconds trainer.overfit_batches"
        " callbacks.early_stopping.min_delta",
    ),
    Limit(
        "above 0",
        lambda number: 0 < number < math.inf,
        "trainer.gradient_clip_val optimizer.eps model.rotary_base scheduler.every callbacks.loss_spike.threshold",
    ),
    Limit("above 0, up to 1", lambda factor: 0 < factor <= 1, "scheduler.gamma"),
    Limit("at least 1, at most 10000", lambda count: 1 <= count <= 10_000, "callbacks.sample_titles.num"),
    Limit("from 1 to 1000000", lambda count: 1 <= count <= 1_000_000, "model.attention.k"),
    Limit("at least 1 and at most 10000", lambda count: 1 <= count <= 10_000, "model.n_layer"),
    Limit("from 1 to 99", lambda count: 1 <= count <= 99, "optimizer.ns_steps"),
    Limit(*_one_of(" ".join(LR_SCALINGS)), "model.lr_scaling"),
    Limit("between 0 and 1, both excluded", lambda share: 0 < share < 1, "data.val_frac"),
    Limit(
        "from 0 to below 1",
        lambda share: 0 <= share < 1,
        "model.dropout model.attention_dropout optimizer.alpha optimizer.momentum callbacks.ema.decay"
        " callbacks.gradient_noise_scale.smoothing",
    ),
    Limit("each from 0 to below 1", lambda betas: all(0 <= beta < 1 for beta in betas), "optimizer.betas"),
    Limit("at least 1, or auto", lambda many: not isinstance(many, int) or many >= 1, "trainer.devices"),
    Limit("from 0 to 1", lambda share: 0 <= share <= 1, "scheduler.floor optimizer.dampening"),
    Limit(
        "a file's name without / and without its ending",
        lambda name: "/" not in name,
        "callbacks.best_checkpoint.filename",
    ),
    # For the message about a wrong type; of the right one, the constructor refuses what it cannot take.
    Limit("a width for each layer, such as [512,256,512]", lambda widths: True, "model.widths"),
    Limit("none, full or every_k such as every_2", lambda text: True, "model.activation_checkpointing"),
    Limit("above 0", lambda share: share > 0, "trainer.limit_train_batches"),
    Limit(
        f"at least {SMALLEST_VOCABULARY} (256 bytes and 3 special tokens), at most {LARGEST_VOCABULARY}",
        lambda size: SMALLEST_VOCABULARY <= size <= LARGEST_VOCABULARY,
        "tokenizer.vocab_size",
    ),
]
LIMIT_OF = {key: limit for limit in LIMITS for key in limit.keys.split()}
ROOT_TYPES = {"name": str, "objective": str | list, "ckpt_path": str | None, "init_from": str | None, "test": bool}
WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", types.NoneType: "null"}
ANYTHING = "**"
LATE = ("vocab_size", "callbacks", "logger")  # what the program itself gives to what it builds
STARRED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def check_config(config: DictConfig) -> None:
    """Raise a UserError for a value of a wrong type, one outside its limits, or one that the model's recipe refuses."""
    check_values(config)
    if config.test:
        require(config.data.test_path is not None, "data.test_path", None, "with test=true, a file of titles")
        read_titles(config.data.test_path, config.data.column, key="data.test_path")
    check_init_from(config)
    _check_recipe(config)


def check_values(config: DictConfig) -> None:
    """Raise a UserError for a value of a wrong type or outside its limits, whatever the others are."""
    for name, kind in ROOT_TYPES.items():
        _check(name, config[name], kind)
    for name in config:
        if isinstance(config[name], DictConfig):
            _check_node(config[name], str(name))
        refuse_old_name(str(name), config[name])
    for objective in objectives(config.objective):
        needed = METRIC_NEEDS.get(objective)
        if needed and config.model[needed] != "always":
            raise bad_value("objective", objective, f"needs model.{needed}=always, not {config.model[needed]}")
    check_mode(config)


def check_mode(config: DictConfig) -> None:
    """Raise a UserError for a search without --multirun, and for a search whose runs take several devices each."""
    if not HydraConfig.initialized():
        return
    hydra = HydraConfig.get()
    several, search = str(hydra.mode).endswith("MULTIRUN"), hydra.runtime.choices.get("hparams_search")
    require(several or search is None, "hparams_search", search, "a search is many runs; add --multirun")
    trainer = config.trainer
    many = torch.cuda.device_count() if trainer.devices == "auto" else trainer.devices
    one = many in (0, 1, "1") or (OmegaConf.is_list(many) and len(many) == 1)
    allowed = (
        "1: in a sweep a trial has one device; start the same command once for each GPU, with CUDA_VISIBLE_DEVICES"
    )
    require(not several or one, "trainer.devices", trainer.devices, allowed)
    allowed = f"auto, not a strategy for several devices: {allowed.partition(': ')[2]}"
    require(not several or trainer.strategy == "auto", "trainer.strategy", trainer.strategy, allowed)


def check_run(
    trainer: L.Trainer,
    data: TitleData,
    model: LanguageModule,
    checkpoint: Path | None,
    objective: str | Sequence[str] = HEADLINE,
) -> None:
    """Raise a UserError for what only shows when all is built, the last moment before the run's first file."""
    share, batches = trainer.limit_train_batches, data.epoch_sizes(trainer).all_batches
    if batches == 0:
        parts = trainer.accumulate_grad_batches * trainer.world_size
        allowed = (
            f"with data.drop_tail the {len(data.train.tokens)} training tokens must fill an update of {parts} of them"
        )
        raise bad_value("data.batch_size", data.batch_size, allowed)
    if isinstance(share, float) and int(share * batches) == 0:
        key = "trainer.overfit_batches" if trainer.overfit_batches else "trainer.limit_train_batches"
        raise bad_value(key, share, f"leaves none of the {batches} batches of an epoch; at least {1 / batches:.2g}")
    packed = {"documents": model.document_mask, "scored": data.evaluation_row is not None}
    check_backends(model.net, data.block_size, trainer.strategy.root_device, **packed)
    if model.compile_net is True:
        check_compiles(trainer.strategy.root_device)
    optimizer = optimizer_of(model.net, model.make_optimizer)
    if isinstance(optimizer, torch.optim.SGD) and optimizer.defaults["fused"]:
        half_on_cpu = trainer.strategy.root_device.type == "cpu" and str(trainer.precision) in ("bf16-true", "16-true")
        allowed = f"under trainer.precision={trainer.precision} PyTorch's fused SGD on the CPU updates nothing; false"
        require(not half_on_cpu, "optimizer.fused", True, allowed)
    try:
        model.make_scheduler(optimizer, total_steps=planned_steps(trainer, data))
    except ValueError as error:  # a part of the schedule that this run is too short for
        raise UserError(f"scheduler.{error}") from error
    followed = {*objectives(objective), *(getattr(callback, "monitor", None) for callback in trainer.callbacks)}
    if "val/mainrun_loss" in followed:
        tokens = len(data.validation.tokens)
        fits = original_tokens_scored(tokens, data.block_size, data.asked_batch_size) > 0
        allowed = f"no span of block_size x batch_size fits into the {tokens} validation tokens, so there would be no"
        require(fits, "data.batch_size", data.asked_batch_size, f"{allowed} val/mainrun_loss to follow")
    for callback in trainer.callbacks:
        if isinstance(callback, GradientNoiseScale):
            callback.check(trainer, data.batch_size)
        if isinstance(callback, SampleTitles):
            callback.check(model, data.tokenizer)
        if isinstance(callback, ScoreTestSet):
            callback.check(trainer)
    if checkpoint is not None:
        check_continues(model, checkpoint)
        check_callbacks(trainer, checkpoint)


def _check_node(node: DictConfig, key: str) -> None:
    """Check a node's values against what its target takes, and the nodes below it."""
    kinds = _parameters(node._target_, key) if "_target_" in node else {}
    kinds = _knobs(node, kinds) if key == ATTENTION else kinds
    if "_target_" in node and not node.get("_partial_") and key != ATTENTION:
        for name in (name for name in _required(node._target_) if name not in node and name not in LATE):
            raise UserError(f"{key}.{name}: {node._target_} needs it, and it was taken away (by ~); leave that out")
    written = OmegaConf.to_container(node, resolve=False)
    for name in (name for name in node if not str(name).startswith("_")):
        source = re.fullmatch(r"\$\{([\w.]+)\}", str(written[name]))  # the key whose value is taken over
        place, value = source[1] if source else f"{key}.{name}", node[name]
        if name not in kinds and not isinstance(value, DictConfig):  # a node is a callback or the like, named freely
            refuse_old_name(f"{key}.{name}", value)
        if kinds and name not in kinds and ANYTHING not in kinds:
            allowed = f"{node._target_} takes no such key{nearest(str(name), kinds)}; it takes: {' '.join(kinds)}"
            raise bad_value(place, value, allowed + _written_by_experiment(place))
        built = isinstance(value, DictConfig) and ("_target_" in value or not kinds)
        if built and not _plain(kinds.get(name, Any)):
            if not source:  # else it is checked where it is written
                _check_node(value, place)
        else:
            _check(place, value, kinds.get(name, Any))


def _check(key: str, value: Any, kind: Any) -> None:
    """Raise a UserError unless `value` is of `kind`, a type annotation, and within the limit of `key`."""
    value = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    group = key.replace(".", "/")
    options = sorted(path.stem for path in Path(CONFIGS, group).glob("*.yaml"))
    if options and not isinstance(value, dict):
        raise bad_value(key, value, f"an option is chosen with a slash, {group}=...; allowed: {' '.join(options)}")
    limit = LIMIT_OF.get(key)
    if _fits(value, kind) and (limit is None or value is None or limit.holds(value)):
        return
    raise bad_value(key, value, f"must be {_allowed(kind, limit)}")


def _check_recipe(config: DictConfig) -> None:
    """Build the model with the smallest vocabulary, its optimizer and its schedule, for what they refuse."""
    check_size(config)
    model = build(config.model, "model", vocab_size=SMALLEST_VOCABULARY)
    try:
        optimizer = optimizer_of(model.net, model.make_optimizer)
    except ValueError as error:
        raise UserError(at_key("optimizer", config.optimizer, error)) from error
    try:
        model.make_scheduler(optimizer, total_steps=10**9)
    except ValueError as error:
        raise UserError(at_key("scheduler", config.scheduler, error)) from error
    _check_monitors(config, model)


def _check_monitors(config: DictConfig, model: LanguageModule) -> None:
    """Raise a UserError for a callback that follows what not every validation has."""
    names = model.monitored_names()
    for name, callback in (config.callbacks or {}).items():
        monitor = callback.get("monitor") if isinstance(callback, DictConfig) else None
        if monitor is not None and monitor not in names:
            needed = METRIC_NEEDS.get(monitor)
            allowed = f"needs model.{needed}=always" if needed else f"one of {' '.join(names)}"
            raise bad_value(f"callbacks.{name}.monitor", monitor, allowed + nearest(monitor, names))


def _parameters(target: str, key: str) -> dict[str, Any]:
    """The keys that a target takes, and their types; ANYTHING is among them where they cannot be known."""
    check_target(target, key)
    try:
        function = get_object(target)
    except (ImportError, ValueError) as error:
        cause = error.__cause__
        if cause is not None and not (isinstance(cause, ModuleNotFoundError) and target.startswith(str(cause.name))):
            raise cause from None  # the module is there and has a fault of its own
        raise bad_value(f"{key}._target_", target, "no such class or function") from error
    kinds: dict[str, Any] = {}
    for layer in _constructors(function):
        parameters = list(inspect.signature(layer).parameters.values())
        hints = _hints(layer)
        kinds = {one.name: hints.get(one.name, Any) for one in parameters if one.kind not in STARRED} | kinds
        if not any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters):
            return kinds
    return kinds | {ANYTHING: Any}


def _required(target: str) -> Iterator[str]:
    """The parameters of a target that have no default."""
    for layer in _constructors(get_object(target)):
        parameters = list(inspect.signature(layer).parameters.values())
        yield from (one.name for one in parameters if one.default is one.empty and one.kind not in STARRED)
        if not any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters):
            return


def _knobs(node: DictConfig, kinds: dict[str, Any]) -> dict[str, Any]:
    """Those of an attention's parameters that are set in its own node; a UserError for one that is set elsewhere."""
    for name in PASSED.keys() & node.keys():
        group, _, there = PASSED[name].partition(".")
        settled = group == "model" and there not in node._get_parent()
        allowed = f"the same in every attention, it is set by {'the architecture' if settled else PASSED[name]}"
        raise bad_value(f"{ATTENTION}.{name}", node[name], allowed)
    function = get_object(node._target_)
    if not isinstance(function, type):
        return kinds
    own = {"backend", ANYTHING}
    for base in function.__mro__:
        if base not in SHARED_ATTENTIONS and "__init__" in vars(base):
            own.update(inspect.signature(base.__init__).parameters)
    return {name: kind for name, kind in kinds.items() if name in own and name not in PASSED}


def _written_by_experiment(key: str) -> str:
    """Which file of the chosen experiment wrote a key that the chosen options lack, and how to leave it out."""
    if not HydraConfig.initialized():
        return ""
    runtime = HydraConfig.get().runtime
    for source in runtime.config_sources:
        path = Path(source.path, "experiment", f"{runtime.choices.get('experiment')}.yaml")
        if source.schema == "file" and path.is_file() and OmegaConf.select(OmegaConf.load(path), key) is not None:
            return f"\n{path} sets it; leave it out with ~{key}"
    return ""


def _constructors(function: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """The function itself, or a class's constructor and those that its `**arguments` go to, in turn."""
    if not isinstance(function, type):
        yield function
        return
    own = [base for base in function.__mro__ if "__init__" in vars(base)]
    for place, base in enumerate(own):
        if place == 0 or base.__module__.startswith("frontpage."):
            yield functools.partial(base.__init__, None)  # without self
    if hasattr(function, "architecture"):  # see LanguageModule
        yield from _constructors(function.architecture)


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(getattr(function, "func", function))
    except (NameError, TypeError):  # names that exist for type checkers only
        return {}


def _plain(kind: Any) -> bool:
    """Whether `kind` is made of texts, numbers and truth values alone, so that nothing built can stand there."""
    return all(part in WORDS or typing.get_origin(part) is typing.Literal for part in _parts(kind))


def _parts(kind: Any) -> tuple[Any, ...]:
    """The members of a union, or the type itself."""
    return typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)


def _fits(value: Any, kind: Any) -> bool:
    """Whether a plain value may stand where `kind` is annotated; a kind that is no class takes anything."""
    return any(_fits_one(value, part) for part in _parts(kind))


def _fits_one(value: Any, part: Any) -> bool:
    origin, arguments = typing.get_origin(part) or part, typing.get_args(part)
    if origin is typing.Literal:
        return value in arguments
    if origin is Any or not isinstance(origin, type):
        return True
    if isinstance(value, bool) or origin is bool:
        return isinstance(value, bool) and origin is bool
    if origin is float:
        return isinstance(value, int | float)
    if isinstance(value, str):
        return origin is str or issubclass(origin, os.PathLike)
    if isinstance(value, list) and origin is tuple and Ellipsis not in arguments:
        return len(value) == len(arguments) and all(map(_fits, value, arguments))
    if isinstance(value, list):
        return issubclass(list, origin) and all(_fits(one, arguments[0]) for one in value if arguments)
    return isinstance(value, origin)


def _allowed(kind: Any, limit: Limit | None) -> str:
    """A type and a limit in words: `a whole number, at least 1, or null`."""
    words = dict.fromkeys(word for part in _parts(kind) if (word := _word(part)))
    optional = words.pop("null", 0) is None
    words = words or ["a node with a _target_"]
    said = [] if limit and limit.allowed.startswith("one of") else [" or ".join(words)]
    return ", ".join([*said, *([limit.allowed] if limit else [])]) + (", or null" if optional else "")


def _word(part: Any) -> str:
    """How a message calls a type; nothing for one that no config can hold."""
    origin, arguments = typing.get_origin(part) or part, typing.get_args(part)
    if origin is typing.Literal:
        return " or ".join(map(str, arguments))
    if not isinstance(origin, type):
        return ""
    if issubclass(origin, os.PathLike):
        return WORDS[str]
    if origin is tuple and Ellipsis not in arguments:
        return f"a list of {len(arguments)}"
    return WORDS.get(origin, "a list" if origin in (list, tuple, Sequence) else "")
