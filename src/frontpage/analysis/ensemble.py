"""An ensemble of runs scored by the honest metric, beside each of them: the mean of their probabilities a token."""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from frontpage.analysis.comparison import validation_titles
from frontpage.analysis.table_text import aligned
from frontpage.command.errors import BadValue
from frontpage.data.encoded import encode_titles
from frontpage.data.entities import without_entities
from frontpage.data.files import read_titles
from frontpage.data.selection import distinct_titles
from frontpage.data.text_sizes import TextSizes
from frontpage.data.tokenizer import TitleTokenizer
from frontpage.evaluation.averaged import averaged, title_sums, token_nats
from frontpage.evaluation.metrics import HEADLINE, honest_metrics, ratio_with_error
from frontpage.runs.provenance import load_tokenizer
from frontpage.runs.reopen import check_is_run
from frontpage.runs.run import Run
from frontpage.runs.run_arguments import reopen, run_and_checkpoint
from frontpage.runs.stored_config import stored_config
from frontpage.runs.training_titles import load_training_titles, title_hashes

OWN = "the titles that the runs were validated on"


@dataclass(frozen=True)
class Member:
    """One run of an ensemble by itself."""

    run: str
    checkpoint: str
    metrics: dict[str, float]
    nll: Tensor  # nats of each title, (titles,) float64


@dataclass(frozen=True)
class Ensemble:
    """Titles scored by each of several runs, and by the mean of their probabilities."""

    source: str  # of the titles
    titles: list[str]
    seen_titles: int | None  # left out, since a run has trained on them; None where one does not say what it has
    sizes: TextSizes
    nll: Tensor  # nats of each title under the mean, (titles,) float64
    metrics: dict[str, float]
    members: list[Member]

    @property
    def best(self) -> Member:
        """The run that scores best alone."""
        return min(self.members, key=lambda one: one.metrics[HEADLINE.name])

    def difference(self) -> tuple[float, float]:
        """(the ensemble less the best single run, its standard error), nats a character, paired by title."""
        return ratio_with_error(self.nll - self.best.nll, self.sizes.characters)

    def __str__(self) -> str:
        """Each run, their ensemble, and the difference to the best of them."""
        seen = "unknown" if self.seen_titles is None else f"{self.seen_titles:,}, left out"
        cells = [["", HEADLINE.name, "error", "val/loss"]]
        for name, found in [*((one.run, one.metrics) for one in self.members), ("averaged", self.metrics)]:
            cells.append([name, *(f"{found[key]:.6f}" for key in (HEADLINE.name, HEADLINE.error, "val/loss"))])
        difference, error = self.difference()
        return (
            f"titles: {len(self.titles):,} of {self.source}; seen in training: {seen}\n{aligned(cells)}\n"
            f"averaged less {self.best.run}: {difference:+.6f} ± {error:.6f}, paired by title"
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        difference, error = self.difference()
        return {
            "run": [one.run for one in self.members],
            "checkpoint": [one.checkpoint for one in self.members],
            "data": {"source": self.source},
            "titles": len(self.titles),
            "seen_titles": self.seen_titles,
            "metrics": self.metrics,
            "members": [{"run": one.run, "metrics": one.metrics} for one in self.members],
            "best_member": self.best.run,
            "difference": difference,
            "difference_se": error,
        }


def score_ensemble(
    arguments: argparse.Namespace, runs: Sequence[str], path: str | None, column: str | None
) -> Ensemble:
    """Score the titles of a file, or else those that all `runs` were validated on, and average their probabilities.

    `arguments` has the `checkpoint`, `device` and `trust` of RunArguments. Titles that a run has trained on are left
    out. One run's weights are in memory at a time, and of each token only its own probability. UserError, before
    anything is scored, for runs of several tokenizers, and for runs that were validated on different titles.
    """
    directories = [Path(run_and_checkpoint(run, arguments.checkpoint)[0]) for run in runs]
    for directory in directories:
        check_is_run(Run(directory))
        check_titles_apart(directory)
    common_tokenizer(directories)  # before the titles, which may take long
    titles = common_titles(directories, path, column, arguments.trust)
    seen = _seen(directories, titles)
    if seen is not None and seen.all():
        raise BadValue("data.path", path or OWN, f"all {len(titles)} titles of it were seen in training by a run")
    kept = titles if seen is None else [title for title, was in zip(titles, seen.tolist(), strict=True) if not was]
    return average_on(arguments, runs, kept, path or OWN, None if seen is None else int(seen.sum()))


def average_on(
    arguments: argparse.Namespace, runs: Sequence[str], titles: Sequence[str], source: str, seen: int | None = 0
) -> Ensemble:
    """The same of titles that are given, which `source` names; `seen` of it were left out before."""
    places = [run_and_checkpoint(run, arguments.checkpoint) for run in runs]
    for run, _ in places:
        check_titles_apart(run)
    encoded = encode_titles(common_tokenizer([Path(run) for run, _ in places]), titles)
    sizes = TextSizes.of(titles, encoded.lengths)
    members: list[Member] = []

    def each() -> Iterator[Tensor]:
        """The nats of each token under one run after the other."""
        for run, checkpoint in places:
            given = argparse.Namespace(**vars(arguments) | {"run": run, "checkpoint": checkpoint})
            config, module, _ = reopen(given)
            nats, scored = token_nats(module, encoded, config.data, watch="scoring")
            nll = title_sums(nats, encoded)
            members.append(Member(run, checkpoint, honest_metrics(nll, scored, sizes), nll))
            yield nats

    nll = title_sums(averaged(each()), encoded)
    return Ensemble(source, list(titles), seen, sizes, nll, honest_metrics(nll, sizes.tokens, sizes), members)


def check_titles_apart(run: Path | str) -> None:
    """Raise a UserError for a run whose documents are several titles: here each title is scored by itself."""
    join = stored_config(Run(Path(run))).data.get("join", "none")
    if join != "none":
        raise BadValue("run", run, f"its documents are joined (data.join={join}); here each title is scored alone")


def common_tokenizer(runs: Sequence[Path]) -> TitleTokenizer:
    """The tokenizer of all runs; UserError where one has another: the tokens of two cannot be averaged."""
    first = load_tokenizer(Run(runs[0]).tokenizer_file, "run")
    for run in runs[1:]:
        if load_tokenizer(Run(run).tokenizer_file, "run").to_json() != first.to_json():
            raise BadValue("run", run, f"has another tokenizer than {runs[0]}, so their tokens cannot be averaged")
    return first


def common_titles(
    runs: Sequence[Path], path: str | None, column: str | None, trusted: Sequence[Path] = ()
) -> list[str]:
    """The distinct titles of the file, or those of the runs' validations; UserError where these are not the same."""
    configs = [stored_config(Run(run)) for run in runs]
    if path is not None:
        rows = read_titles(path, column or configs[0].data.get("column", "title"))
        undone = configs[0].data.get("unescape_html", False)
        return distinct_titles(without_entities(rows, undone, f"data.path={path}"))
    titles = validation_titles(configs[0], runs[0], trusted)
    for run, config in zip(runs[1:], configs[1:], strict=True):
        if {*validation_titles(config, run, trusted)} != {*titles}:
            raise BadValue("run", run, f"was validated on other titles than {runs[0]}; data.path=FILE scores a file")
    return titles


def _seen(runs: Sequence[Path], titles: Sequence[str]) -> np.ndarray | None:
    """Which titles a run has trained on, (titles,) bool; None where one of the runs does not say."""
    known = [load_training_titles(Run(run)) for run in runs]
    if any(one is None for one in known):
        return None
    return np.isin(title_hashes(titles), np.concatenate(known))
