"""What is wrong with a search, found before its study is made: points of the space are composed as their runs would."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from frontpage.command.errors import BadValue
from frontpage.sweeps.space import SearchSpace

OF_THE_STUDY = ("hydra.sweeper.study_name", "hydra.sweeper.storage", "hydra.sweep.dir")
FILES = ("data.path", "data.test_path", "init_from")


def rehearse(
    space: SearchSpace, config: DictConfig, loader: ConfigLoader, check: Callable[[DictConfig], object] | None
) -> None:
    """Compose the corners of a space, and let `check` look at each; raises what Hydra or `check` find wrong."""
    for point in space.corners():
        composed = loader.load_sweep_config(config, space.overrides(point))
        for key in OF_THE_STUDY:
            there, here = (OmegaConf.select(one, key) for one in (config, composed))
            if there != here:
                raise BadValue(key, there, "must be the same in all trials, so it must not name what is searched")
        if check is not None:
            with _as_in_its_job(composed) as task:
                check(task)


def check_shared(config: DictConfig) -> None:
    """Raise a UserError for what would fail every trial, or go for one run only."""
    checkpoint = OmegaConf.select(config, "ckpt_path")
    own = "null, since a trial that was broken off continues by itself; init_from=... starts all from the same weights"
    if checkpoint is not None:
        raise BadValue("ckpt_path", checkpoint, own)
    for given in OmegaConf.select(config, "hydra.overrides.hydra") or []:
        key, _, place = given.partition("=")
        if key == "hydra.run.dir":
            raise BadValue(key, place, "for a single run; a search has hydra.sweeper.directory=...")
    for key in FILES:
        path = OmegaConf.select(config, key)
        if path is not None and not Path(path).exists():
            raise BadValue(key, path, "no such file, and every trial would fail")


def make_folder(path: Path) -> None:
    """Make the folder of the trials; UserError where that cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        allowed = f"cannot be made ({error.strerror}); hydra.sweeper.directory=... names another folder"
        raise BadValue("hydra.sweep.dir", path, allowed) from error


@contextmanager
def _as_in_its_job(composed: DictConfig) -> Iterator[DictConfig]:
    """The config that a job gets, with `${hydra:...}` as there."""
    before = HydraConfig.instance().cfg
    with read_write(composed), open_dict(composed):
        composed.hydra.job.num, composed.hydra.job.id = 0, "0"
        composed.hydra.runtime.output_dir = f"{composed.hydra.sweep.dir}/0"
    HydraConfig.instance().set_config(composed)
    task = composed.copy()
    with read_write(task), open_dict(task):
        del task["hydra"]
    try:
        yield task
    finally:
        HydraConfig.instance().cfg = before
