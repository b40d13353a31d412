"""Every title of a file scored with a run's weights, and again without those that it has trained on."""

from typing import Any

import numpy as np
from omegaconf import DictConfig

from frontpage.command.part_times import PartTimes
from frontpage.data.documents import APART
from frontpage.data.title_file import read_title_file
from frontpage.evaluation.positions import nats_by_position
from frontpage.evaluation.scored_titles import ScoredTitles
from frontpage.recipe.language_module import LanguageModule
from frontpage.runs.training_titles import seen_in_training


def score_file(
    path: str,
    config: DictConfig,
    module: LanguageModule,
    known: np.ndarray | None,
    times: PartTimes,
    everything: bool = False,
    positions: bool = False,
) -> dict[str, Any]:
    """Counts and shares of the file's titles, their metrics, and the metrics of those not among the hashes `known`.

    The file is read as `config.data` says; of days, those are left out that have a title among the hashes. With
    `everything` the costly metrics, too, with `positions` the nats by position. What has no value is None. UserError
    for a file that cannot be read.
    """
    with times.part("reading titles"):
        titles, documents, rows = read_title_file(path, config.data)
        seen = None if known is None else seen_in_training(titles, known)
    with times.part("scoring"):
        scored = ScoredTitles(module, titles, config.data, watch="scoring", documents=documents)
    metrics = measured(scored, None, everything, times)
    of_seen = None if seen is None else documents.with_any(seen)
    metrics_unseen = None if seen is None or of_seen.all() else metrics
    if seen is not None and seen.any() and not of_seen.all():
        metrics_unseen = measured(scored, ~of_seen, everything, times)
    joined = {} if documents is APART else {"join": config.data.join, "documents": len(scored.encoded)}
    by_position = {}
    if positions:
        with times.part("nats by position"):
            found = nats_by_position(module, scored.encoded, scored.sizes, config.data, watch="by position")
        by_position["nats_by_position"] = [one.as_dict() for one in found]
    return {
        "data": {"path": path, "column": config.data.get("column", "title"), "rows": rows, **joined},
        "titles": len(titles),
        "seen_titles": None if seen is None else int(seen.sum()),
        "seen_share": None if seen is None else float(seen.mean()),
        "metrics": metrics,
        "metrics_unseen": metrics_unseen,
        **by_position,
    }


def measured(
    scored: ScoredTitles, chosen: np.ndarray | None, everything: bool, times: PartTimes
) -> dict[str, float | None]:
    """The metrics of all documents, or of those that `chosen` (documents,) picks; with `everything` the costly, too."""
    metrics = scored.metrics(chosen)
    if everything:
        which = "all titles" if chosen is None else "unseen titles"
        with times.part(f"metrics of the stream, {which}"):
            metrics |= scored.metrics_of_the_stream(chosen, watch=which)
    return metrics
