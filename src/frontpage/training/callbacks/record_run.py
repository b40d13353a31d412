"""RecordRun: `run.json`, what a run was and what came of it."""

import platform
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping, Timer
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason

from frontpage.attention.kernels.describe import describe_attention
from frontpage.command.disk_full import ADVICE, NotSaved, explain_full_disk, is_full
from frontpage.command.endings import Failure, Interrupted, Pruned
from frontpage.command.json_file import write_json
from frontpage.command.masking import hide_argument
from frontpage.command.notices import notice, notices
from frontpage.machine.accelerator import device_name
from frontpage.machine.peak_memory import peak_memory, start_counting
from frontpage.machine.processor import processor_name
from frontpage.recipe.live_bytes import StaticBytes, live_bytes
from frontpage.recipe.steps import planned_steps
from frontpage.runs.checked_file import digest_of
from frontpage.runs.git_state import git_state
from frontpage.runs.open_run import OUT_OF_TIME
from frontpage.runs.record import read_record, sittings_of, told
from frontpage.runs.run import run_around
from frontpage.runs.stored_config import IN_CHECKPOINT
from frontpage.runs.structure import unlike, unlike_numbers
from frontpage.training.callbacks.averaged_weights import AveragedWeights
from frontpage.training.callbacks.best_checkpoint import BestCheckpoint
from frontpage.training.callbacks.last_checkpoint import LastCheckpoint
from frontpage.training.callbacks.log_metrics import training_metrics
from frontpage.training.callbacks.process_times import described_processes
from frontpage.training.callbacks.run_clock import clock_of
from frontpage.training.plan import RunPlan

PACKAGES = ("frontpage", "torch", "lightning", "hydra-core", "omegaconf", "optuna", "tokenizers", "datasets", "numpy")
COUNTED = 40  # updates: as many as it takes until each of several tasks had its turn


class RecordRun(Checkpoint):
    """Writes `run.json` at the start with status `running`, and replaces it at each validation and at the end.

    It is a Checkpoint only so that it runs after the callbacks that are none, and stands before those, so that theirs
    know of it. `config` is resolved and masked.
    """

    def __init__(self, path: Path | str, config: dict[str, Any]) -> None:
        self.path, self.config = Path(path), config
        self.record: dict[str, Any] = {}
        self.plan: RunPlan | None = None  # made before training
        self.static_bytes: StaticBytes | None = None  # counted while the gradients of an update live
        self._to_count = COUNTED
        self._best: dict[str, Any] = {}
        self._final: dict[str, Any] = {}
        self._validated_at: int | None = None  # the update of `final`

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write what is known before training."""
        start_counting(pl_module.device)
        data = trainer.datamodule
        sizes = data.run_sizes(trainer).largest(planned_steps(trainer))
        parameters = sum(parameter.numel() for parameter in pl_module.net.parameters())
        outside = parameters - sum(table.numel() for table in {*pl_module.net.looked_up()})
        this = {**git_state(), "device": device_name(trainer), "processor": processor_name(pl_module.device)}
        sitting = {**this, "fingerprint": data.fingerprint}
        self.record = {
            "status": "running",
            "reason": None,
            "command": shlex.join(map(hide_argument, sys.argv)),
            "config": self.config,
            **this,
            "sittings": [*_earlier_sittings(trainer.ckpt_path), sitting],
            "versions": {"python": platform.python_version(), **_versions()},
            "precision": str(trainer.precision),
            "world_size": trainer.world_size,
            "processes": described_processes(trainer),
            "data": data.description(),
            "micro_batch": sizes.micro_batch,
            "accumulate_grad_batches": sizes.accumulated,
            "rows_per_update": sizes.update_rows,
            "tokens_per_update": sizes.update_targets,
            "attention": describe_attention(pl_module.net, data.block_size, pl_module.device, pl_module.document_mask),
            "passes_per_title": pl_module.passes,
            "parameters": parameters,
            "non_embedding_parameters": outside,
            "matmul_peak_flops": clock_of(trainer).matmul_peak_flops,
            "estimated_memory_bytes": self.plan.memory.total if self.plan and self.plan.memory else None,
            "validated_weights": _validated_weights(trainer),
            "headline": asdict(pl_module.headline),
            "metrics": {"final": self._final, "best": self._best, "chance": data.chances()},
            "validated_at": self._validated_at,  # the update of `final`
        }
        self._write(trainer, pl_module)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep at which update this sitting begins, which is known now."""
        *earlier, this = self.record["sittings"]
        self.record["sittings"] = [*earlier, {"from_update": trainer.global_step, **this}]
        self._write(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count weights, gradients and optimizer state after the first updates: the most that they were."""
        if self._to_count and trainer.global_step > 0:
            self._to_count -= 1
            counted = live_bytes(pl_module.net, trainer.optimizers[0])
            self.static_bytes = max(counted, self.static_bytes or counted, key=sum)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the newest metrics, and keep the best."""
        if trainer.state.fn != "fit":
            return
        trained = pl_module.loss is not None
        values = training_metrics(trainer, pl_module, pl_module.loss) | pl_module.newest_values() if trained else {}
        final = pl_module.metrics | values
        self.record["metrics"]["final"] = self._final = final
        self.record["validated_at"] = self._validated_at = trainer.global_step
        self.record["validated_weights"] = _validated_weights(trainer)
        headline = pl_module.headline
        if not self._best or headline.as_good(final[headline.name], self._best[headline.name]):
            self._best = {name: value for name, value in final.items() if name.startswith("val/")}
            self._best["step"] = trainer.global_step
        self.record["metrics"]["best"] = self._best
        self._write(trainer, pl_module)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the end, and why it came before the planned one; NotSaved where the disk does not hold it."""
        problem, saved = _last_saved(trainer)
        problem = trainer.strategy.broadcast(problem)
        if problem:
            raise NotSaved(problem)
        self.record["status"], self.record["checkpoint"] = "finished", saved
        self.record["reason"] = _early_end(trainer, pl_module)
        self._write(trainer, pl_module)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Write how the run broke off; one that a full disk has ended is no failure: it goes on when there is room."""
        if not self.record:
            return
        stopped = isinstance(exception, Interrupted | KeyboardInterrupt) or explain_full_disk(exception) is not None
        pruned = isinstance(exception, Pruned)
        self.record["status"] = "interrupted" if stopped else "pruned" if pruned else "failed"
        told = pruned or type(exception) is Failure
        self.record["reason"] = str(exception) if told else f"{type(exception).__name__}: {exception}"
        try:
            self._write(trainer, pl_module)
        except OSError as error:
            if not is_full(error):
                raise
            notice(f"the disk is full: {self.path} does not say how the run ended ({self.record['reason']})")

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Let each checkpoint say what settings its run had."""
        checkpoint[IN_CHECKPOINT] = self.config

    def state_dict(self) -> dict[str, Any]:
        """The best and the newest metrics so far, and when these were measured, for a resumed run."""
        return {"best": self._best, "final": self._final, "validated_at": self._validated_at}

    def unlike_state(self, saved: Any, where: str) -> Iterator[str]:
        """What of a checkpoint's state is no dictionary of metrics."""
        expected = {"best": {}, "final": {}}
        if isinstance(saved, Mapping) and "validated_at" in saved:  # which older checkpoints do not say
            expected["validated_at"] = None
        yield from unlike(saved, expected, where)
        for name in ("best", "final"):
            if isinstance(saved, Mapping) and name in saved:
                yield from unlike_numbers(saved[name], f"{where}.{name}")

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue an earlier session's."""
        self._best, self._final = state_dict["best"], state_dict.get("final", {})
        self._validated_at = state_dict.get("validated_at")  # older checkpoints do not say

    def _write(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        clock, record = clock_of(trainer), self.record
        record |= {
            "steps": trainer.global_step,
            "tokens_seen": clock.tokens_seen,
            "titles_shown": _shown(trainer, self.record["data"].get("train_titles")),
            "seconds": clock.elapsed_seconds,
            "tokens_per_second": clock.tokens_per_second,
            "training_flops": clock.training_flops,
            "model_flops_utilization": clock.model_flops_utilization,
            "peak_memory_bytes": peak_memory(pl_module.device),
            "notices": notices(),
        }
        write_json(self.path, record)


def _earlier_sittings(checkpoint: str | Path | None) -> list[dict[str, Any]]:
    """Those of the run whose checkpoint goes on; of one from before they were written down the newest."""
    before = read_record(run_around(Path(checkpoint)).path) if checkpoint else None
    if before is None:
        return []
    newest = {name: before.get(name) for name in ("git_commit", "git_dirty", "device", "processor")}
    *others, last = sittings_of(before) or [newest]
    return [*others, {"fingerprint": told(before, "data", "fingerprint"), **last}]


def _validated_weights(trainer: L.Trainer) -> str:
    """Which weights the newest validation is of: those as trained, until there is an average."""
    average = next((callback for callback in trainer.callbacks if isinstance(callback, AveragedWeights)), None)
    return "as trained" if average is None or not average.averaged else average.words()


def _shown(trainer: L.Trainer, titles: int | None) -> int | None:
    """How often a title was shown in training, repeats counted, of `titles` an epoch; None where no titles are.

    Those of an epoch that has not ended, was left early or is limited count as its share of batches.
    """
    loop, loader = trainer.fit_loop, trainer.train_dataloader
    begun, batches = loop.epoch_progress.current.ready, loop.epoch_loop.batch_progress.current.ready
    if titles is None:
        return None
    if not begun or loader is None:
        return 0
    sizes_of = getattr(loader, "sizes_of", None)
    if sizes_of is None:
        return round(titles * (begun - 1 + batches / len(loader)))
    shares = [sizes.batches / sizes.all_batches for sizes in map(sizes_of, range(begun - 1))]
    return round(titles * (sum(shares) + batches / sizes_of(begun - 1).all_batches))


def _early_end(trainer: L.Trainer, module: L.LightningModule) -> str | None:
    """What ended a run before its planned updates; None for one that did them all."""
    if trainer.global_step >= module.total_steps:
        return None
    where = f"at update {trainer.global_step} of {module.total_steps}"
    for callback in trainer.callbacks:
        if isinstance(callback, EarlyStopping) and callback.stopping_reason_message:
            patience = callback.stopping_reason == EarlyStoppingReason.PATIENCE_EXHAUSTED
            no_better = f"{callback.monitor} got no better in {callback.wait_count} validations"
            return f"early stopping {where}: {no_better if patience else callback.stopping_reason_message}"
        if isinstance(callback, Timer) and (callback.time_remaining() or 0.0) <= 0:
            return f"{OUT_OF_TIME} {where}"
    return f"stopped {where}"


def _last_saved(trainer: L.Trainer) -> tuple[str | None, dict[str, Any] | None]:
    """What of a run's end does not lie on the disk, or None; and what does, for `run.json`."""
    update, saved = trainer.global_step, None
    for callback in trainer.callbacks:
        if isinstance(callback, LastCheckpoint):
            callback.save_end(trainer)  # every process takes part
            if not trainer.is_global_zero:
                continue
            if not callback.holds(update):
                return f"{callback.path} does not hold update {update}, the run's end: {ADVICE}", None
            saved = {"path": str(callback.path), "update": update, "digest": digest_of(callback.path)}
        if trainer.is_global_zero and isinstance(callback, BestCheckpoint) and callback.missed is not None:
            problem = f"{callback.best} does not hold update {callback.missed}, the best"
            if callback.missed == update:
                return f"{problem}: {ADVICE}", None
            notice(f"{problem}: the disk was full then; it holds the best of those that there was room for")
    return None, saved


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found
