"""Where the configs and the programs lie, and what configs can ask for in `${...}`."""

from pathlib import Path

from omegaconf import OmegaConf

from frontpage.command.objective import monitored

PACKAGE = Path(__file__).resolve().parents[1]
INSTALLED = (PACKAGE / "configs" / "train.yaml").is_file()  # without a checkout: they were built into the package
ROOT = PACKAGE if INSTALLED else PACKAGE.parents[1]  # of configs/, train.py and scripts/
CONFIGS = str(ROOT / "configs")
OmegaConf.register_resolver("monitored", monitored, replace=True)  # for callbacks that follow the objective
