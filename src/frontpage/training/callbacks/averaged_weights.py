"""AveragedWeights: what averages of the weights have in common: they are validated and kept."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from frontpage.command.errors import BadValue, UserError
from frontpage.data.run_data import RunData
from frontpage.recipe.sharded_nets import scatter
from frontpage.recipe.sharded_tensors import collected, own_part, placed_like


class AveragedWeights(L.Callback):
    """Averages the weights that `takes` chooses, as one of torch's `multi_avg_fn` says; a subclass has both.

    As soon as there is an average, validations, invented titles and the `state_dict` of checkpoints hold it; training
    goes on with the weights as trained, which checkpoints hold as `current_model_state` (the names that Lightning's
    own callback uses). That one gives the weights back before a module's `on_validation_epoch_end`, where some of our
    metrics are computed, and it cannot be stopped within a validation.
    """

    def __init__(self, rule: Callable[..., None]) -> None:
        self._rule = rule
        self._average: dict[str, Tensor] = {}  # by name, tied weights once
        self.averaged = 0  # how many sets of weights it is of
        self._swapped = False  # whether the net holds the average, and the average the weights as trained
        self._updates = 0

    @abstractmethod
    def takes(self, trainer: L.Trainer, pl_module: L.LightningModule) -> bool:
        """Whether the weights of the newest update go into the average."""

    @abstractmethod
    def words(self) -> str:
        """Which weights are validated and saved, in words."""

    def settings(self) -> dict[str, Any]:
        """What a checkpoint says of the average beside its numbers; its keys tell one kind from another."""
        return {}

    def check(self, trainer: L.Trainer, data: RunData, updates: int) -> None:
        """Raise a UserError for what an average of a run of so many `updates` cannot go with."""
        if sum(isinstance(one, AveragedWeights) for one in trainer.callbacks) > 1:
            raise UserError("callbacks: one average of the weights at a time; take callbacks=ema or final_average")
        if str(trainer.precision) in ("bf16-true", "16-true"):
            allowed = "an average of the weights needs fp32 ones: half precision rounds its small steps away"
            raise BadValue("trainer.precision", trainer.precision, allowed)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Make room for the average."""
        if stage == "fit":
            self._average = {name: weight.detach().clone() for name, weight in _averaged(pl_module.net).items()}

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Follow the net to its device; where it is sharded, this process keeps the same rows of the average."""
        pairs = zip(self._average.items(), _averaged(pl_module.net).values(), strict=True)
        self._average = {name: placed_like(average, weight) for (name, average), weight in pairs}

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Average, once an update."""
        if trainer.global_step > self._updates:
            self._updates = trainer.global_step
            if self.takes(trainer, pl_module):
                self._average_in(pl_module)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put the average into the net, where there is one."""
        if trainer.state.fn == "fit" and self.averaged:
            self._swap(pl_module)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Give the net its own weights back; callbacks that look at the average stand before this one."""
        if self._swapped:
            self._swap(pl_module)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Leave a broken validation with the net's own weights."""
        if self._swapped:
            self._swap(pl_module)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep both, wherever the net's weights are at the moment; before there is an average they are the same."""
        average = trained = checkpoint["state_dict"]
        if self.averaged:
            inside = self._state_with_it(pl_module, trained, trainer.is_global_zero)
            trained, average = (inside, average) if self._swapped else (trained, inside)
        checkpoint["current_model_state"], checkpoint["state_dict"] = trained, average
        checkpoint["averaging_state"] = {"averaged": self.averaged, "updates": self._updates, **self.settings()}

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take both back; the net holds `state_dict`, the average, by now."""
        average = {name.removeprefix("net."): value for name, value in checkpoint["state_dict"].items()}
        self._average = {name: average[name].clone() for name in self._average}
        state = checkpoint["averaging_state"]
        self._updates = state["updates"]
        self.averaged = int(state.get("averaged", self._updates))  # older runs average every update
        pl_module.load_state_dict(checkpoint["current_model_state"])

    def forget(self) -> None:
        """Begin anew."""
        self.averaged = 0

    @torch.no_grad()
    def _average_in(self, pl_module: L.LightningModule) -> None:
        averages, weights = self._parts(pl_module)
        if self.averaged:
            self._rule(averages, weights, torch.tensor(self.averaged))
        else:
            for average, weight in zip(averages, weights, strict=True):
                average.copy_(weight)
        self.averaged += 1

    @torch.no_grad()
    def _swap(self, pl_module: L.LightningModule) -> None:
        scatter(pl_module.net)  # a sharded one that was gathered; a validation gathers it behind this
        for average, trained in zip(*self._parts(pl_module), strict=True):
            kept = average.clone()
            average.copy_(trained)
            trained.copy_(kept)
        self._swapped = not self._swapped

    def _parts(self, pl_module: L.LightningModule) -> tuple[list[Tensor], list[Tensor]]:
        """The average and the weights, of which this process may have some rows."""
        trained = _averaged(pl_module.net).values()
        return [own_part(one) for one in self._average.values()], [own_part(one) for one in trained]

    def _state_with_it(self, pl_module: L.LightningModule, state: dict[str, Tensor], keep: bool) -> dict[str, Tensor]:
        """A module's state with the average in place of its weights, where `keep`; a collective of a sharded net."""
        kept, net = list(collected(self._average, keep).values()), pl_module.net
        if not kept:
            return {}
        place = {id(weight): index for index, weight in enumerate(_averaged(net).values())}
        named = [*net.named_parameters(remove_duplicate=False), *_running_means(net).items()]
        names = {f"net.{name}": place[id(weight)] for name, weight in named}
        return state | {name: kept[index].reshape(state[name].shape) for name, index in names.items()}


def _averaged(net: nn.Module) -> dict[str, Tensor]:
    """What is averaged, by name: the weights, tied ones once, and the running means that belong to them."""
    return dict(net.named_parameters()) | _running_means(net)


def _running_means(net: nn.Module) -> dict[str, Tensor]:
    """Those of batch normalisations, of what they read; others would not fit to averaged weights."""
    names = ("running_mean", "running_var")
    norms = {place: module for place, module in net.named_modules() if isinstance(module, nn.BatchNorm1d)}
    return {f"{place}.{name}": getattr(norm, name) for place, norm in norms.items() for name in names}
