"""Score a file of titles with a run: `python scripts/evaluate.py <run dir> data.path=titles.parquet`."""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

import numpy as np

from frontpage.command.arguments import save_json
from frontpage.command.errors import UserError, nearest
from frontpage.command.notices import notices
from frontpage.command.part_times import PartTimes
from frontpage.data.entities import without_entities
from frontpage.data.files import read_titles
from frontpage.data.selection import distinct_titles
from frontpage.evaluation.scored_titles import ScoredTitles
from frontpage.runs.run_arguments import RunArguments, reopen
from frontpage.runs.training_titles import seen_in_training

KEYS = ("data.path", "data.column")


def main() -> None:
    """Every title of the file, without a split, and the same without the titles that the run has trained on."""
    parser = RunArguments(
        "Score every title of a file with the weights of a run, in fp32.", ("run", "metrics", "seen_share")
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="data.path=FILE, and data.column=NAME where it is not `title`"
    )
    more = "and val/packed_nats_per_char and val/mainrun_loss, for which the titles are passed over again"
    parser.add_argument("--all-metrics", action="store_true", help=more)
    arguments = parser.parse_intermixed_args()
    overrides = _parse(arguments.overrides)
    if "data.path" not in overrides:
        raise UserError("data.path: give the file of titles to score, data.path=titles.parquet")
    times = PartTimes()
    with times.part("opening the run"):
        config, module, known = reopen(arguments)
    path, column = overrides["data.path"], overrides.get("data.column", config.data.column)
    with times.part("reading titles"):
        rows = read_titles(path, column)
        rows = without_entities(rows, config.data.get("unescape_html", False), f"data.path={path}")
        titles = distinct_titles(rows)
        seen = None if known is None else seen_in_training(titles, known)
    with times.part("scoring"):
        scored = ScoredTitles(module, titles, config.data, watch="scoring")
    metrics = measured(scored, None, arguments.all_metrics, times)
    metrics_unseen = None if seen is None or seen.all() else metrics
    if seen is not None and seen.any() and not seen.all():
        metrics_unseen = measured(scored, ~seen, arguments.all_metrics, times)
    result = {
        "run": arguments.run,
        "checkpoint": arguments.checkpoint,
        "data": {"path": path, "column": column, "rows": len(rows)},
        "titles": len(titles),
        "seen_titles": None if seen is None else int(seen.sum()),
        "seen_share": None if seen is None else float(seen.mean()),
        "metrics": metrics,
        "metrics_unseen": metrics_unseen,
        "seconds": times.seconds,
        "notices": notices(),
    }
    _print(result)
    print(times)
    save_json(arguments.json, result)


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


def _parse(overrides: list[str]) -> dict[str, str]:
    found = {}
    for override in overrides:
        key, equals, value = override.partition("=")
        if key not in KEYS or not equals:
            raise UserError(f"{override}: allowed are data.path=FILE and data.column=NAME{nearest(key, KEYS)}")
        quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""  # as train.py takes it
        found[key] = value[1:-1] if quoted else value
    return found


def _print(result: dict) -> None:
    seen = "unknown" if result["seen_share"] is None else f"{result['seen_titles']:,} ({result['seen_share']:.2%})"
    print(f"titles: {result['titles']:,} of {result['data']['rows']:,} rows; seen in training: {seen}")
    print(f"{'':<26} {'all titles':>12} {'unseen ones':>12}")
    for name, value in result["metrics"].items():
        values = [value, (result["metrics_unseen"] or {}).get(name)]
        print(f"{name:<26} " + " ".join("-".rjust(12) if v is None else f"{v:12.6f}" for v in values))


if __name__ == "__main__":
    program(main)
