"""Score a file of titles with a run: `python scripts/evaluate.py <run dir> data.path=titles.parquet`."""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

from frontpage.analysis.file_scores import score_file
from frontpage.command.arguments import save_json
from frontpage.command.errors import UserError, nearest
from frontpage.command.notices import notices
from frontpage.command.part_times import PartTimes
from frontpage.runs.run_arguments import RunArguments, reopen

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
    scores = score_file(path, column, config, module, known, times, arguments.all_metrics)
    result = {"run": arguments.run, "checkpoint": arguments.checkpoint, **scores}
    result |= {"seconds": times.seconds, "notices": notices()}
    _print(result)
    print(times)
    save_json(arguments.json, result)


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
