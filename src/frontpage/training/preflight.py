"""What is wrong with a run's config: by itself, with the model it would build, and with all that is built of it."""

import inspect
from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from frontpage.attention.kernels.describe import check_backends
from frontpage.attention.parts.contract import SelfAttention
from frontpage.attention.parts.pattern import PatternAttention
from frontpage.attention.parts.projected import ProjectedAttention
from frontpage.command.build import at_key, build
from frontpage.command.check import ANYTHING, Rules, check_nodes
from frontpage.command.errors import BadValue, UserError
from frontpage.command.objective import HEADLINE, objectives
from frontpage.data.epoch_sizes import EpochSizes
from frontpage.data.parallel.loader import LM
from frontpage.data.run_data import RunData
from frontpage.data.tokenizer.title_tokenizer import SMALLEST_VOCABULARY
from frontpage.machine.accelerator import find_accelerator
from frontpage.machine.precision import settle_precision
from frontpage.recipe.compiling import check_compiles
from frontpage.recipe.optimizers.settings import TORCH_OPTIMIZERS
from frontpage.recipe.parameter_groups import optimizer_of
from frontpage.recipe.precision.mode import mode_of
from frontpage.recipe.steps import planned_steps
from frontpage.recipe.training_module import TrainingModule
from frontpage.runs.checkpoint import Checkpoint, check_continues
from frontpage.training.callbacks.averaged_weights import AveragedWeights
from frontpage.training.callbacks.gradient_noise_scale import GradientNoiseScale
from frontpage.training.callbacks.grokking_detector import GrokkingDetector
from frontpage.training.callbacks.grokking_signals import GrokkingSignals
from frontpage.training.callbacks.monitor import Monitor
from frontpage.training.callbacks.position_nats import PositionNats
from frontpage.training.callbacks.sample_titles import SampleTitles
from frontpage.training.callbacks.score_test_set import ScoreTestSet
from frontpage.training.followed import check_monitors, check_objective
from frontpage.training.fully_sharded import FSDP, check_sharding
from frontpage.training.memory.estimate import estimate_training
from frontpage.training.memory.feasible import check_size, check_step
from frontpage.training.nodes import settle_nodes
from frontpage.training.plan import check_memory, free_memory
from frontpage.training.resumed_callbacks import check_callbacks
from frontpage.training.root_keys import ROOT_KEYS

LARGE = 100_000_000  # weights: smaller nets are built in a second or two
ATTENTION = "model.attention"
SHARED_ATTENTIONS = (SelfAttention, ProjectedAttention, PatternAttention)
# What an architecture passes to the attention of each layer, and the key that it takes it from.
PASSED = {name: f"model.{name}" for name in "d_model n_head n_kv_head bias rotary_base rotary_share qk_norm".split()}
PASSED |= {"block_size": "data.block_size", "dropout": "model.attention_dropout", "rotary": "model.positions"}
PASSED |= {"layer": "the place in the net"}


def check_config(config: DictConfig, to_train: bool = False) -> None:
    """Raise a UserError for a value of a wrong type, one outside its limits, or one that the model's recipe refuses.

    `to_train` asks, too, whether there is memory for a step of a large net, before the net is built.
    """
    check_values(config)
    if config.test and config.data.get("test_path") is None:
        raise BadValue("data.test_path", None, "with test=true, a file of titles")
    accumulation = config.trainer.accumulate_grad_batches
    if OmegaConf.is_list(accumulation) and config.model.get("lr_scaling", "none") != "none":
        allowed = f"none: it means one number of rows, and trainer.accumulate_grad_batches={accumulation} changes them"
        raise BadValue("model.lr_scaling", config.model.lr_scaling, allowed)
    check_size(config)
    if to_train:  # and not to go on with a run that an earlier version began
        check_fits(config)
        _check_tasks(config)
    _check_recipe(config)


def check_fits(config: DictConfig) -> None:
    """Raise Infeasible where a training step of a large net needs more than the machine, or its GPU, has.

    It asks before the net is built and a file is read, with the smallest vocabulary; the plan of the run asks again,
    of every net and with what is known then.
    """
    device = torch.device(find_accelerator(config.trainer.accelerator))
    on_card = device.type == "cuda"
    if device.type == "mps" or (on_card and config.model.get("attention_dropout")):  # whose kernels may keep less
        return
    if config.trainer.strategy == FSDP:  # of which the plan of the run knows how many devices share it
        return
    batch_size, block_size = 1 if config.trainer.fit_batch else config.data.batch_size, config.data.block_size
    mode = mode_of(config)
    try:
        with torch.device("meta"):
            model = build(config.model, "model", vocab_size=SMALLEST_VOCABULARY)
        if sum(weight.numel() for weight in model.net.parameters()) < LARGE:
            return
        sizes = {"document_mask": model.document_mask, "loss": model.planned_loss, "card": on_card}
        settled = settle_precision(config.trainer.precision, device.type) if mode is None else mode.lightning
        model.train_in(mode)
        sizes |= {"precision": str(settled), "mode": mode, "passes": model.passes}
        memory = estimate_training(model.net, model.make_optimizer, batch_size, block_size, **sizes)
    except (NotImplementedError, RuntimeError, TypeError):  # building with numbers, or the plan of the run, says it
        return
    devices = config.trainer.devices
    card = free_memory(torch.device(device.type, devices[0]) if on_card and OmegaConf.is_list(devices) else device)
    if card is not None:
        check_memory(memory, *card, batch_size)
    else:
        check_step(memory, batch_size, block_size)


def check_values(config: DictConfig) -> None:
    """Raise a UserError for a value of a wrong type or outside its limits, whatever the others are."""
    check_nodes(config, RULES)
    settle_nodes(config.trainer.num_nodes, config.trainer.devices)
    check_objective(config)
    check_mode(config)


def check_mode(config: DictConfig) -> None:
    """Raise a UserError for a search without --multirun, and for a search whose runs take several devices each."""
    if not HydraConfig.initialized():
        return
    hydra = HydraConfig.get()
    several, search = str(hydra.mode).endswith("MULTIRUN"), hydra.runtime.choices.get("hparams_search")
    if not several and search is not None:
        raise BadValue("hparams_search", search, "a search is many runs; add --multirun")
    trainer = config.trainer
    many = torch.cuda.device_count() if trainer.devices == "auto" else trainer.devices
    one = many in (0, 1, "1") or (OmegaConf.is_list(many) and len(many) == 1)
    allowed = (
        "1: in a sweep a trial has one device; start the same command once for each GPU, with CUDA_VISIBLE_DEVICES"
    )
    if several and not one:
        raise BadValue("trainer.devices", trainer.devices, allowed)
    allowed = f"auto, not a strategy for several devices: {allowed.partition(': ')[2]}"
    if several and trainer.strategy != "auto":
        raise BadValue("trainer.strategy", trainer.strategy, allowed)


def check_run(
    trainer: L.Trainer,
    data: RunData,
    model: TrainingModule,
    checkpoint: Checkpoint | None,
    objective: str | Sequence[str] = HEADLINE,
) -> int:
    """How many updates the run has; UserError for what only shows when all is built, before the run's first file."""
    sizes = data.run_sizes(trainer)
    for epoch in range((sizes.alike or 0) + 1):
        _check_epoch(sizes.of(epoch), trainer, data)
    if checkpoint is not None:
        check_continues(model, checkpoint)
        check_callbacks(trainer, checkpoint)
    if model.compile_net is True:
        check_compiles(trainer.strategy.root_device)
    optimizer = optimizer_of(model.net, model.make_optimizer)
    if isinstance(optimizer, torch.optim.SGD) and optimizer.defaults["fused"]:
        half_on_cpu = trainer.strategy.root_device.type == "cpu" and str(trainer.precision) in ("bf16-true", "16-true")
        allowed = f"under trainer.precision={trainer.precision} PyTorch's fused SGD on the CPU updates nothing; false"
        if half_on_cpu:
            raise BadValue("optimizer.fused", True, allowed)
    planned = planned_steps(trainer, data)
    try:
        model.make_scheduler(optimizer, total_steps=planned)
    except ValueError as error:  # a part of the schedule that this run is too short for
        raise UserError(f"scheduler.{error}") from error
    followed = {*objectives(objective), *(getattr(callback, "monitor", None) for callback in trainer.callbacks)}
    model.check(data, followed)
    for callback in trainer.callbacks:
        if isinstance(callback, AveragedWeights):
            callback.check(trainer, data, planned)
        if isinstance(callback, GradientNoiseScale):
            callback.check(trainer, data.batch_size)
        if isinstance(callback, GrokkingDetector | GrokkingSignals):
            callback.check(trainer, data, model, planned)
        if isinstance(callback, SampleTitles):
            callback.check(model, data.tokenizer)
        if isinstance(callback, Monitor):
            callback.check(data, model, planned)
        if isinstance(callback, ScoreTestSet):
            callback.check(trainer)
        if isinstance(callback, PositionNats):
            callback.check(trainer, data)
    packed = {"documents": model.document_mask, "scored": data.packed_validation}
    check_backends(model.net, data.block_size, trainer.strategy.root_device, **packed)
    return planned


def _check_epoch(sizes: EpochSizes, trainer: L.Trainer, data: RunData) -> None:
    """Raise a UserError for an epoch without a batch."""
    share, batches = trainer.limit_train_batches, sizes.all_batches
    if batches == 0:
        parts = sizes.accumulate * sizes.world_size
        allowed = f"with data.drop_tail the {sizes.tokens} training tokens must fill an update of {parts} of them"
        raise BadValue("data.batch_size", data.batch_size, allowed)
    if isinstance(share, float) and int(share * batches) == 0:
        key = "trainer.overfit_batches" if trainer.overfit_batches else "trainer.limit_train_batches"
        raise BadValue(key, share, f"leaves none of the {batches} batches of an epoch; at least {1 / batches:.2g}")


def _check_tasks(config: DictConfig) -> None:
    """Raise a UserError for tasks on pairs of texts of data that have none."""
    others = " ".join(name for name in config.get("tasks") or {} if name != LM)
    if others and "tasks" not in config.data:
        raise BadValue("tasks", others, "null or lm_only: these data have no pairs of texts; data=parallel has")


def _check_recipe(config: DictConfig) -> None:
    """Build the model with the smallest vocabulary, its optimizer and its schedule, for what they refuse."""
    mode = mode_of(config)
    check_sharding(config, mode)
    if mode is not None:
        mode.check(config)
    model = build(config.model, "model", vocab_size=SMALLEST_VOCABULARY)
    model.train_in(mode)
    try:
        optimizer = optimizer_of(model.net, model.make_optimizer)
    except ValueError as error:
        raise UserError(at_key("optimizer", config.optimizer, error)) from error
    try:
        model.make_scheduler(optimizer, total_steps=10**9)
    except ValueError as error:
        raise UserError(at_key("scheduler", config.scheduler, error)) from error
    check_monitors(config, model)


def _attention_keys(node: DictConfig, kinds: dict[str, Any]) -> dict[str, Any]:
    """Those of an attention's parameters that are set in its own node; a UserError for one that is set elsewhere."""
    for name in PASSED.keys() & node.keys():
        group, _, there = PASSED[name].partition(".")
        settled = group == "model" and there not in node._get_parent()
        allowed = f"the same in every attention, it is set by {'the architecture' if settled else PASSED[name]}"
        raise BadValue(f"{ATTENTION}.{name}", node[name], allowed)
    function = get_object(node._target_)
    if not isinstance(function, type):
        return kinds
    own = {"backend", "d_inner", ANYTHING}
    for base in function.__mro__:
        if base not in SHARED_ATTENTIONS and "__init__" in vars(base):
            own.update(inspect.signature(base.__init__).parameters)
    return {name: kind for name, kind in kinds.items() if name in own and name not in PASSED}


RULES = Rules(ROOT_KEYS, {"torch.optim.": TORCH_OPTIMIZERS}, {ATTENTION: _attention_keys})
