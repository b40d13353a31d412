"""Runs compared title by title: what they have in common in luck cancels, so that small differences can be seen."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from frontpage.command.build import build_stored
from frontpage.command.disk_full import replacing
from frontpage.command.errors import BadValue, UserError
from frontpage.command.notices import notice
from frontpage.data.documents import APART
from frontpage.data.run_data import RunData
from frontpage.data.text_sizes import TextSizes
from frontpage.evaluation.metrics import ratio_with_error
from frontpage.evaluation.scored_titles import ScoredTitles
from frontpage.runs.record import told
from frontpage.runs.reopen import load_run
from frontpage.runs.run import Run
from frontpage.runs.stored_values import check_scoring
from frontpage.runs.training_titles import load_training_titles, seen_in_training, title_hashes

SCORES = "validation_scores.npz"  # kept in a run's directory, so that it is scored once


@dataclass(frozen=True)
class TitleNats:
    """A run's best checkpoint on its validation titles, or documents, ordered by hash; each (titles,)."""

    hashes: np.ndarray
    nll: torch.Tensor  # nats of each title, float64
    characters: torch.Tensor  # of each title, its end counted

    @property
    def value(self) -> float:
        """`val/nats_per_char`."""
        return ratio_with_error(self.nll, self.characters)[0]


@dataclass(frozen=True)
class Difference:
    """A run's headline, and its difference to the best run's with the standard error of pairs, in nats a character."""

    directory: Path
    value: float
    difference: float
    error: float
    titles: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"directory": str(self.directory)}


def title_nats(directory: Path, trusted: Iterable[Path] = ()) -> TitleNats:
    """Score a run's best checkpoint on its validation titles in fp32, or read what was scored before.

    Raises UserError where the checkpoint or the titles cannot be read any more.
    """
    checkpoint, kept = Run(directory).best, directory / SCORES
    if not checkpoint.is_file():
        raise BadValue("run", directory, "it has no best checkpoint, so it cannot be scored")
    written = checkpoint.stat().st_mtime_ns
    if kept.is_file():
        try:
            with np.load(kept) as file:
                if int(file["checkpoint"]) == written:
                    hashes, nll, characters = (file[name] for name in ("hashes", "nll", "characters"))
                    if not hashes.shape == nll.shape == characters.shape:
                        raise ValueError("not one number a title")
                    return TitleNats(hashes, torch.from_numpy(nll), torch.from_numpy(characters))
        except Exception:  # errors of numpy's, of zip and of torch's: it was computed, and can be again
            notice(f"{kept} cannot be read; the run is scored anew")
    config, module = load_run(directory, trusted=trusted)
    check_scoring(config, Run(directory).config_file)
    data = validation_data(config, directory, trusted)
    titles, documents = data.validation_texts(), data.validation_documents()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    scored = ScoredTitles(module.to(device), titles, config.data, watch=f"scoring {directory}", documents=documents)
    hashes = title_hashes(documents.texts(titles))
    order = np.argsort(hashes)
    found = TitleNats(hashes[order], scored.nll[order], scored.sizes.characters[order])
    _keep(kept, found, written)
    return found


def validation_titles(config: DictConfig, directory: Path, trusted: Iterable[Path] = ()) -> list[str]:
    """What the run in `directory` was validated on, read again; UserError where it cannot be read any more."""
    return list(validation_data(config, directory, trusted).validation_texts())


def validation_data(config: DictConfig, directory: Path, trusted: Iterable[Path] = ()) -> RunData:
    """The data of the run in `directory`, read again; UserError where it cannot be read any more, or is other data."""
    named = [key for key in ("path", "root") if config.data.get(key)]  # a file that a run names may be named from there
    settings = OmegaConf.merge(config.data, {key: _found(config.data[key], directory) for key in named})
    data: RunData = build_stored(settings, "data", directory, trusted)
    data.read()
    _check_same(data, directory)
    return data


def compare(directories: Sequence[Path], trusted: Iterable[Path] = ()) -> list[Difference]:
    """Every run against the best of them, best first; UserError where they were validated on different titles.

    A run that cannot be scored is left out, and a notice says why; UserError where all are such.
    """
    if not directories:
        raise UserError("--compare: there are no runs to compare")
    found, reasons = {}, []
    for directory in directories:
        try:
            found[directory] = title_nats(directory, trusted)
        except Exception as error:  # a run's files can be damaged in any way, and must not take the others with them
            reasons.append(str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}")
            if len(directories) > 1:
                notice(f"--compare leaves out {directory}: {reasons[-1]}")
    if not found:
        raise UserError(reasons[0])
    best = min(found, key=lambda directory: found[directory].value)
    least = found[best]
    differences = []
    for directory, nats in found.items():
        if not np.array_equal(nats.hashes, least.hashes):
            raise BadValue("--compare", directory, f"not validated on the titles of {best}; leave one out (--where)")
        difference, error = ratio_with_error(nats.nll - least.nll, nats.characters)
        differences.append(Difference(directory, nats.value, difference, error, len(nats.hashes)))
    return sorted(differences, key=lambda one: one.value)


def _found(path: str, directory: Path) -> str:
    """The file or folder of texts; UserError that names the run where it is gone."""
    if not Path(path).exists():
        raise BadValue("run", directory, f"its titles {path} are not there (seen from the current folder)")
    return path


def _check_same(data: RunData, directory: Path) -> None:
    """Raise a UserError where the run has trained on other texts than `data` has now, or was validated on others."""
    run, texts = Run(directory), data.validation_texts()
    known, told_titles = load_training_titles(run), told(run.record, "data", "validation_titles")
    other = known is not None and not seen_in_training(data.training_texts(), known).all()
    other |= told_titles is not None and told_titles != len(texts)
    if told_titles is not None and data.validation_documents() is APART:
        other |= told(run.record, "data", "validation_characters") != TextSizes.of(texts, []).characters.sum().item()
    if other:
        source = told(run.record, "data", "source")
        raise BadValue("run", directory, f"{source} has other titles now than the run was trained and validated on")


def _keep(path: Path, found: TitleNats, written: int) -> None:
    try:
        with replacing(path) as partial, partial.open("wb") as file:
            np.savez(
                file,
                hashes=found.hashes,
                nll=found.nll.numpy(),
                characters=found.characters.numpy(),
                checkpoint=np.int64(written),
            )
    except OSError as error:
        notice(f"{path} cannot be written ({error.strerror}); the next comparison scores the run again")
