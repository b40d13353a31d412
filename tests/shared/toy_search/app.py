"""A program of milliseconds that the sweeper runs as it runs train.py: app.py --multirun x="interval(0,1)"."""

import os
import signal
import time
from pathlib import Path

import hydra
import optuna
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from frontpage.command.config_folder import CONFIGS
from frontpage.command.endings import Interrupted, Pruned
from frontpage.command.program import program, task

os.environ.setdefault("FRONTPAGE_CONFIGS", CONFIGS)


@hydra.main(config_path=str(Path(__file__).resolve().parent), config_name="toy", execution_whitelist=("frontpage.*",))
@task
def run(config: DictConfig) -> float | str:
    """(x - 0.5)^2 + offset of the kind + y; what `broken` says where x is negative."""
    from frontpage.sweeps.job import current_trial

    number = HydraConfig.get().job.num
    with Path(config.paths.log_dir, "started.txt").open("a") as file:
        file.write(f"{number} {config.x} {config.ckpt_path}\n")
    print(f"hello from {number}")
    trial, value = current_trial(), (config.x - 0.5) ** 2 + config.kind.offset + config.y
    for step in range(1, config.reports + 1):
        trial.report(value + 1 / step, step)
        if trial.should_prune():
            raise Pruned(f"at {step}")
    time.sleep(config.pause)
    if config.x < 0:
        goes_wrong(config.broken)
        value = {"nan": float("nan"), "text": "no number"}.get(config.broken, value)
    return value


def goes_wrong(how: str | None) -> None:
    """Fail, or end this process as a power cut or an operator would."""
    if how == "raise":
        raise RuntimeError("it broke\nin two lines")
    if how == "trial_pruned":
        raise optuna.TrialPruned("the program's own reason")
    if how == "memory":
        raise MemoryError("no more")
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "interrupt":
        raise Interrupted("stopped by a signal")
    if how == "hang":
        time.sleep(60)


def also_width(config: DictConfig, trial: optuna.Trial) -> None:
    """A space with a condition and a constraint: only kind=flat has a width, and y may not be above it."""
    from frontpage.command.errors import Infeasible

    if trial.params["kind"] == "flat":
        width = trial.suggest_int("kind.width", 1, 3)
        if trial.params["y"] > width:
            raise Infeasible(f"y={trial.params['y']} is above kind.width={width}")


if __name__ == "__main__":
    program(run)
