"""FullySharded: `trainer.strategy=fsdp`, each process keeps its rows of weights, gradients and optimizer state."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.strategies import ModelParallelStrategy, Strategy
from omegaconf import DictConfig
from torch.optim import Optimizer

from frontpage.command.errors import BadValue
from frontpage.command.notices import notice
from frontpage.machine.accelerator import find_accelerator
from frontpage.recipe.compiling import AUTO
from frontpage.recipe.precision.mode import PrecisionMode
from frontpage.recipe.sharded_nets import broadcast_buffers, gather, scatter, shard
from frontpage.recipe.sharded_tensors import collected, placed_like, whole
from frontpage.runs.checkpoint_parts import remove_unnamed
from frontpage.training.sharded_checkpoints import write_parts

FSDP = "fsdp"  # `trainer.strategy`
UNFUSED = ("torch.optim.Adagrad", "torch.optim.SGD")
EIGHT_BIT = "frontpage.recipe.optimizers.adamw_8bit.adamw_8bit"

PRECISIONS = ("auto", "32-true", "bf16-mixed", "bf16-true", 32, "32", "bf16")


def check_sharding(config: DictConfig, mode: PrecisionMode | None) -> None:
    """Raise a UserError for what `trainer.strategy=fsdp` cannot do, before anything is built."""
    trainer, why = config.trainer, f"under trainer.strategy={FSDP}"
    if trainer.strategy != FSDP:
        if trainer.sharded_checkpoints:
            raise BadValue("trainer.sharded_checkpoints", True, f"false unless trainer.strategy={FSDP}")
        return
    device = find_accelerator(trainer.accelerator)
    if device == "mps":
        raise BadValue("trainer.accelerator", trainer.accelerator, f"cuda or cpu {why}")
    if mode is not None and (type(mode) is not PrecisionMode or mode.lightning not in PRECISIONS):
        raise mode.refusal(f"fp32 or bf16 {why}, whose weights and optimizer states are cut by rows")
    if trainer.precision not in PRECISIONS:
        allowed = f"one of {' '.join(map(str, PRECISIONS[:4]))} {why}: its gradients are not scaled"
        raise BadValue("trainer.precision", trainer.precision, allowed)
    if config.model.get("compile") is True:
        raise BadValue("model.compile", True, f"false {why}, which gathers the weights of a block as it comes to it")
    if trainer.fit_batch:
        raise BadValue("trainer.fit_batch", True, f"false {why}, whose memory it does not know")
    if config.optimizer._target_ in UNFUSED and config.optimizer.get("fused"):
        raise BadValue("optimizer.fused", True, f"false {why}: PyTorch has no fused kernel of it for sharded weights")
    if config.optimizer._target_ == EIGHT_BIT:
        raise BadValue("optimizer", "adamw_8bit", f"another one {why}: its averages lie in blocks of whole weights")


class FullySharded(ModelParallelStrategy):
    """FSDP2 (Zhao et al. 2023, arXiv 2304.11277) over all processes, with the checkpoints of every other strategy.

    What is saved is whole and the first process writes it by the run's own CheckpointFile, so that a run's files do not
    tell how many processes there were; with `sharded_checkpoints` each process writes its rows, and nothing is
    gathered. What is loaded is whole in every process before the net is sharded. For a validation every process has all
    weights, since processes have different numbers of its batches.
    """

    strategy_name = FSDP

    def __init__(self, sharded_checkpoints: bool = False) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=False)
        self._numbers: set[str] = set()
        self._in_parts = sharded_checkpoints

    # Lightning's would load into a sharded net, by code of its own.
    restore_checkpoint_after_setup = False
    lightning_restore_optimizer = True
    load_checkpoint = Strategy.load_checkpoint
    load_model_state_dict = Strategy.load_model_state_dict

    def connect(self, model: L.LightningModule) -> None:
        """Leave the net as it is where compiling was up to us."""
        super().connect(model)
        if model.compile_net == AUTO:
            model.compile_net = False
            if self.root_device.type == "cuda":
                notice("model.compile=auto: not compiled, since trainer.strategy=fsdp gathers weights as it goes")

    def setup_environment(self) -> None:
        """All processes share the data; Lightning's default would split matrices between those of a machine."""
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    def setup(self, trainer: L.Trainer) -> None:
        """Shard the net, with what a checkpoint has brought; then build the optimizer of its parts."""
        module = self.precision_plugin.convert_module(self.lightning_module)
        self._numbers = shard(module.net, self.device_mesh["data_parallel"])
        super().setup(trainer)

    def on_validation_start(self) -> None:
        """Behind callbacks that change the weights."""
        broadcast_buffers(self.lightning_module.net)
        gather(self.lightning_module.net)

    def on_validation_end(self) -> None:
        """Behind callbacks that read them."""
        scatter(self.lightning_module.net)

    def on_exception(self, exception: BaseException) -> None:
        """Leave a broken validation."""
        scatter(self.lightning_module.net)

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: Path | str, storage_options: dict[str, Any] | None = None
    ) -> None:
        """Write it as a single file, or in parts; a collective."""
        if self._in_parts:
            checkpoint = write_parts(checkpoint, Path(filepath), self.checkpoint_io)
        if checkpoint is not None:
            Strategy.save_checkpoint(self, checkpoint, filepath, storage_options)
        if self._in_parts and self.is_global_zero:
            remove_unnamed(Path(filepath).parent)

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """The state as it is saved: whole in the first process and nothing in the others, or in parts; a collective."""
        state = self._saved(self.lightning_module.state_dict())
        return {name: whole(value).reshape(()) if self._is_number(name) else value for name, value in state.items()}

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The same of an optimizer, in PyTorch's own form."""
        state = self._saved(super(ModelParallelStrategy, self).optimizer_state(optimizer))
        if state:
            for index in self._indices_of_numbers(optimizer):
                own = state["state"].get(index, {})
                own.update({key: whole(value).reshape(()) for key, value in own.items()})
        return state

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Take whole states, of which each process keeps its rows."""
        super(ModelParallelStrategy, self).load_optimizer_state_dict(checkpoint)
        for optimizer in self.optimizers:
            for weight, state in optimizer.state.items():
                for key, value in state.items():
                    if key != "step" and value.numel() == weight.numel():
                        state[key] = placed_like(value, weight)

    def _saved(self, state: dict[str, Any]) -> dict[str, Any]:
        return state if self._in_parts else collected(state, self.is_global_zero)

    def _is_number(self, name: str) -> bool:
        return name.removeprefix("net.") in self._numbers

    def _indices_of_numbers(self, optimizer: Optimizer) -> list[int]:
        numbers = {id(self.lightning_module.net.get_parameter(name)) for name in self._numbers}
        weights = (weight for group in optimizer.param_groups for weight in group["params"])
        return [index for index, weight in enumerate(weights) if id(weight) in numbers]
