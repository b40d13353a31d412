"""Where the configs lie, and what they can ask for in `${...}`."""

from pathlib import Path

from omegaconf import OmegaConf

from frontpage.objective import monitored

CONFIGS = str(Path(__file__).resolve().parents[2] / "configs")
OmegaConf.register_resolver("monitored", monitored, replace=True)  # for callbacks that follow the objective
