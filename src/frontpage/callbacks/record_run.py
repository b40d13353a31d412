"""RecordRun: `run.json`, what a run was and what came of it."""

import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint

from frontpage.attention.describe import describe_attention
from frontpage.callbacks.log_metrics import training_metrics
from frontpage.callbacks.run_clock import clock_of
from frontpage.cli import Interrupted
from frontpage.notices import notices
from frontpage.peak_memory import peak_memory, start_counting
from frontpage.plan import RunPlan
from frontpage.secrets import hide_all
from frontpage.trainer import device_name

PACKAGES = ("frontpage", "torch", "lightning", "hydra-core", "omegaconf", "optuna", "tokenizers", "datasets", "numpy")


class RecordRun(Checkpoint):
    """Writes `run.json` at the start with status `running`, and replaces it at each validation and at the end.

    It is a Checkpoint only so that it runs after the other callbacks. `config` is resolved and masked.
    """

    def __init__(self, path: Path | str, config: dict[str, Any]) -> None:
        self.path, self.config = Path(path), config
        self.record: dict[str, Any] = {}
        self.plan: RunPlan | None = None  # made before training
        self._best: dict[str, Any] = {}
        self._loss: torch.Tensor | None = None

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write what is known before training."""
        start_counting(pl_module.device)
        data = trainer.datamodule
        net, parameters = pl_module.net, sum(parameter.numel() for parameter in pl_module.net.parameters())
        embeddings = {module.weight for module in net.modules() if isinstance(module, torch.nn.Embedding)}
        table = getattr(net, "position_table", None)
        outside = parameters - sum(w.numel() for w in embeddings) - (table.numel() if table is not None else 0)
        self.record = {
            "status": "running",
            "reason": None,
            "command": " ".join(sys.argv),
            "config": self.config,
            **_git(),
            "versions": {"python": platform.python_version(), **_versions()},
            "device": device_name(trainer),
            "precision": str(trainer.precision),
            "data": data.description(),
            "attention": describe_attention(pl_module.net, data.block_size, pl_module.device, pl_module.document_mask),
            "parameters": parameters,
            "non_embedding_parameters": outside,
            "matmul_peak_flops": clock_of(trainer).matmul_peak_flops,
            "estimated_memory_bytes": self.plan.memory.total if self.plan and self.plan.memory else None,
            "metrics": {"final": {}, "best": {}},
        }
        self._write(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep the newest loss, without waiting for it."""
        self._loss = pl_module.loss

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the newest metrics, and keep the best."""
        if trainer.state.fn != "fit":
            return
        final = pl_module.metrics | (training_metrics(trainer, pl_module, self._loss) if self._loss is not None else {})
        self.record["metrics"]["final"] = final
        if not self._best or final["val/nats_per_char"] <= self._best["val/nats_per_char"]:
            self._best = {name: value for name, value in final.items() if name.startswith("val/")}
            self._best["step"] = trainer.global_step
        self.record["metrics"]["best"] = self._best
        self._write(trainer, pl_module)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the end."""
        self.record["status"] = "finished"
        self._write(trainer, pl_module)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Write how the run broke off."""
        if not self.record:
            return
        stopped = isinstance(exception, Interrupted | KeyboardInterrupt)
        self.record["status"] = "interrupted" if stopped else "failed"
        self.record["reason"] = f"{type(exception).__name__}: {exception}"
        self._write(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """The best metrics so far, for a resumed run."""
        return {"best": self._best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue an earlier session's best."""
        self._best = state_dict["best"]

    def _write(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        clock, record = clock_of(trainer), self.record
        record |= {
            "steps": trainer.global_step,
            "tokens_seen": clock.tokens_seen,
            "seconds": clock.elapsed_seconds,
            "tokens_per_second": clock.tokens_per_second,
            "training_flops": clock.tokens_seen * clock.flops_per_token,
            "model_flops_utilization": clock.model_flops_utilization,
            "peak_memory_bytes": peak_memory(pl_module.device),
            "notices": notices(),
        }
        write_json(self.path, record)


def write_json(path: Path, content: Any) -> None:
    """Replace `path` by strict JSON in one step; a number that is not finite becomes null, secrets are hidden."""
    partial = path.with_suffix(".json.partial")
    partial.write_text(
        json.dumps(_finite(hide_all(content)), indent=1, ensure_ascii=False, allow_nan=False), encoding="utf-8"
    )
    os.replace(partial, path)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _git() -> dict[str, Any]:
    def ask(*words: str) -> str | None:
        try:
            answer = subprocess.run(
                ["git", *words], capture_output=True, text=True, timeout=10, cwd=Path(__file__).parent
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return answer.stdout.strip() if answer.returncode == 0 else None

    commit = ask("rev-parse", "HEAD")
    return {"git_commit": commit, "git_dirty": bool(ask("status", "--porcelain")) if commit else None}


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found
