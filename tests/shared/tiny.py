"""What the tests share: where things are, the names of options, composed configs, and the smallest run."""

import copy
import functools
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs"
REAL_TITLES = ROOT.parent / "shared" / "data" / "hn_titles.parquet"

# A run that takes a second: what most tests of training start from.
TINY = (
    "data=synthetic",
    "data.num_titles=120",
    "data.block_size=32",
    "data.batch_size=8",
    "tokenizer.vocab_size=300",
    "model.d_model=32",
    "model.n_layer=1",
    "model.n_head=2",
    "trainer.max_epochs=1",
    "trainer.accelerator=cpu",
    "trainer.precision=32-true",
    "callbacks.sample_titles.num=1",
    "callbacks.sample_titles.max_tokens=8",
)


def options(group: str) -> list[str]:
    """The names of a config group's options, e.g. options("model/attention").

    Promoted experiments (`*_best.yaml`, scripts/promote.py) are left out: they are records of one trial, made for its
    model and attention alone; tests/sweeps/test_promotion.py has their promises. `peer_best` is none of them.
    """
    names = sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))
    return [name for name in names if not name.endswith("_best") or name == "peer_best"]


def architectures() -> list[str]:
    """The options of `model` without those that are another one in other sizes: for products and for training."""
    found = {name: OmegaConf.load(CONFIGS / "model" / f"{name}.yaml") for name in options("model")}
    return [name for name, config in found.items() if "_target_" in config or "d_model" not in config]


def composed(*overrides: str) -> DictConfig:
    """What the command line would compose; a tenth of a second, so the same overrides are composed once a process."""
    return copy.deepcopy(_composed(overrides))


@functools.cache
def _composed(overrides: tuple[str, ...]) -> DictConfig:
    with initialize_config_dir(str(CONFIGS)):
        return compose("train", overrides=["paths.run_dir=unused", *overrides])
