"""How a notebook gets its titles, its size and its small models: from the same configs as `train.py`."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path

import lightning as L
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

import frontpage.command.program  # noqa: F401  (what it sets of warnings and of the allocator)
from frontpage.command.build import build
from frontpage.command.config_folder import CONFIGS
from frontpage.command.errors import BadValue
from frontpage.data.title_data import TitleData
from frontpage.recipe.language_module import LanguageModule
from frontpage.runs.reopen import reopened
from frontpage.training.preflight import check_config

ROOT = Path(CONFIGS).parent
NEIGHBOUR = ROOT.parent / "shared" / "data" / "hn_titles.parquet"  # a copy of real titles beside the checkout
SIZES = ("small", "full")
CACHE = f'paths.cache_dir="{ROOT / ".cache" / "tokens"}"'  # the repository's, wherever a notebook lies


def notebook_size(environment: Mapping[str, str] = os.environ) -> str:
    """`small`, what CI runs, or `full`, from FRONTPAGE_NOTEBOOK_SIZE; UserError for anything else."""
    size = environment.get("FRONTPAGE_NOTEBOOK_SIZE") or SIZES[0]
    if size not in SIZES:
        raise BadValue("FRONTPAGE_NOTEBOOK_SIZE", size, " or ".join(SIZES))
    return size


def title_overrides(environment: Mapping[str, str] = os.environ, neighbour: Path = NEIGHBOUR) -> list[str]:
    """The overrides that choose the titles: FRONTPAGE_TITLES, else a copy beside the checkout, else the grammar.

    UserError where FRONTPAGE_TITLES names no file.
    """
    named = environment.get("FRONTPAGE_TITLES")
    if named:
        if not Path(named).is_file():
            raise BadValue("FRONTPAGE_TITLES", named, "a file of titles")
    path = Path(named).resolve() if named else neighbour
    return ["data=hn_titles", f'data.path="{path}"'] if path.is_file() else ["data=synthetic"]


def compose_run(*overrides: str) -> DictConfig:
    """The config that `train.py` would compose, with the repository's token cache; UserError for a mistake in it."""
    with initialize_config_dir(CONFIGS):
        config = compose("train", overrides=["paths.run_dir=none", CACHE, *overrides])
    check_config(config)
    return config


def load_titles(config: DictConfig) -> TitleData:
    """The config's titles: selected, split and encoded."""
    data = build(config.data, "data")
    data.setup()
    return data


def train_small(config: DictConfig, data: TitleData) -> LanguageModule:
    """Train the config's model on `data` without records and validations; it comes back in evaluation mode."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    L.seed_everything(config.seed, verbose=False)
    settings = config.trainer.copy()
    settings.update(limit_val_batches=0, partial_validation=True)
    model = build(config.model, "model", vocab_size=data.vocab_size)
    model.connect(data.tokenizer, data.block_size, reopened)
    trainer = build(settings, "trainer", callbacks=[], logger=[])
    trainer.fit(model, datamodule=data)
    model.tokenizer = data.tokenizer
    return model.cpu().eval()
