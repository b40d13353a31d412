"""Every title of a file scored with a run's weights, and again without those that it has trained on."""

from typing import Any

import numpy as np
from omegaconf import DictConfig

from frontpage.command.part_times import PartTimes
from frontpage.data.entities import without_entities
from frontpage.data.files import read_titles
from frontpage.data.selection import distinct_titles
from frontpage.evaluation.scored_titles import ScoredTitles
from frontpage.recipe.language_module import LanguageModule
from frontpage.runs.training_titles import seen_in_training


def score_file(
    path: str,
    column: str,
    config: DictConfig,
    module: LanguageModule,
    known: np.ndarray | None,
    times: PartTimes,
    everything: bool = False,
) -> dict[str, Any]:
    """Counts and shares of the file's titles, their metrics, and the metrics of those not among the hashes `known`.

    With `everything` the costly metrics, too. What has no value is None. UserError for a file that cannot be read.
    """
    with times.part("reading titles"):
        rows = read_titles(path, column)
        rows = without_entities(rows, config.data.get("unescape_html", False), f"data.path={path}")
        titles = distinct_titles(rows)
        seen = None if known is None else seen_in_training(titles, known)
    with times.part("scoring"):
        scored = ScoredTitles(module, titles, config.data, watch="scoring")
    metrics = measured(scored, None, everything, times)
    metrics_unseen = None if seen is None or seen.all() else metrics
    if seen is not None and seen.any() and not seen.all():
        metrics_unseen = measured(scored, ~seen, everything, times)
    return {
        "data": {"path": path, "column": column, "rows": len(rows)},
        "titles": len(titles),
        "seen_titles": None if seen is None else int(seen.sum()),
        "seen_share": None if seen is None else float(seen.mean()),
        "metrics": metrics,
        "metrics_unseen": metrics_unseen,
    }


def measured(
    scored: ScoredTitles, chosen: np.ndarray | None, everything: bool, times: PartTimes
) -> dict[str, float | None]:
    """The metrics of all titles, or of those that `chosen` (titles,) picks; with `everything` the costly ones, too."""
    metrics = scored.metrics(chosen)
    if everything:
        which = "all titles" if chosen is None else "unseen titles"
        with times.part(f"metrics of the stream, {which}"):
            metrics |= scored.metrics_of_the_stream(chosen, watch=which)
    return metrics
