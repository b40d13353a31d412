"""What a run writes at its start to be readable later: its config, its tokenizer, its training titles."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from frontpage.command.disk_full import replacing
from frontpage.command.masking import mask
from frontpage.command.notices import notice
from frontpage.data.run_data import RunData
from frontpage.runs.checkpoint import Checkpoint
from frontpage.runs.provenance import provenance_in
from frontpage.runs.record import fingerprints_of
from frontpage.runs.run import Run
from frontpage.runs.teachers import titles_of_teachers
from frontpage.runs.training_titles import load_training_titles, save_training_titles, title_hashes


def masked(config: DictConfig) -> dict[str, Any]:
    """The resolved config as plain types; known secrets, and the value of every key that names one, are `***`."""
    return mask(OmegaConf.to_container(config, resolve=True))


def save_run(
    run: Run, settings: dict[str, Any], data: RunData, weights: Checkpoint | None, teachers: Sequence[str] = ()
) -> None:
    """Write the `settings`, a config as `masked` gives it, the tokenizer, and the training titles as hashes.

    With the titles go those that the `weights` have seen which the run begins with, and those of its teachers.
    """
    earlier = _titles_behind(weights) if weights else None
    if weights and earlier is None:
        notice(f"the training titles behind {weights.path} are not known: what this run calls seen leaves them out")
    others = title_hashes(data.other_texts())
    save_training_titles(run, data.training_texts(), others, earlier, titles_of_teachers(teachers))
    with replacing(run.config_file) as partial:
        OmegaConf.save(OmegaConf.create(settings), partial)
    data.tokenizer.save(run.tokenizer_file)


def _titles_behind(weights: Checkpoint) -> np.ndarray | None:
    """Hashes of the titles that weights have seen; None where the folder around them is another run's."""
    found, titles = provenance_in(weights), fingerprints_of(weights.run.record)
    own = found is None or not titles or found.titles in titles
    return load_training_titles(weights.run) if own else None
