"""What is wrong with a point of a search, beyond what is wrong with a run: found before the study is made."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from frontpage.command.build import build
from frontpage.command.config_folder import CONFIGS
from frontpage.command.errors import BadValue, UserError
from frontpage.command.objective import objectives
from frontpage.command.run_folder import check_complete
from frontpage.data.scoring_rows import original_tokens_scored
from frontpage.data.title_data import TitleData
from frontpage.training.preflight import check_values


def check_point(config: DictConfig) -> None:
    """Raise a UserError for a value that is wrong by itself, and for an objective that no run of it would have."""
    for key in _needed():
        if key not in config:
            empty = f"; {key}=none leaves it empty" if Path(CONFIGS, key, "none.yaml").is_file() else ""
            raise UserError(f"{key}: is missing, and every run needs it{empty}")
    check_complete(config)
    check_values(config)
    if "val/mainrun_loss" not in objectives(config.objective):
        return
    data: TitleData = build(config.data, "data")
    data.setup()  # from the cache the next time
    tokens, span = len(data.validation.tokens), f"{data.block_size * data.asked_batch_size + 1:,}"
    if original_tokens_scored(tokens, data.block_size, data.asked_batch_size) == 0:
        allowed = f"never computed, since of {tokens:,} validation tokens no span of"
        raise BadValue(
            "objective", "val/mainrun_loss", f"{allowed} data.block_size * data.batch_size + 1 = {span} fits"
        )


def _needed() -> list[str]:
    """The keys of every config, in the order of configs/train.yaml."""
    content = OmegaConf.to_container(OmegaConf.load(Path(CONFIGS, "train.yaml")), resolve=False)
    groups = [
        (group, option) for entry in content.pop("defaults") if entry != "_self_" for group, option in entry.items()
    ]
    return [*content, *(group for group, option in groups if option is not None and group != "hydra")]
