"""Score texts with a run: `python scripts/evaluate.py <run dir> data.path=titles.parquet`.

A run of a parallel corpus is scored on its own held-out books, or on those of another corpus, `data.root=FOLDER`.
Several runs are scored as an ensemble, on the titles that they were validated on or on a file's.
"""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

from argparse import Namespace
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from frontpage.analysis.ensemble import score_ensemble
from frontpage.analysis.file_overrides import file_overrides
from frontpage.analysis.file_scores import score_file
from frontpage.analysis.held_out_scores import score_held_out
from frontpage.analysis.position_table import position_table
from frontpage.command.arguments import save_json
from frontpage.command.errors import BadValue, UserError
from frontpage.command.notices import notices
from frontpage.command.part_times import PartTimes
from frontpage.recipe.language_module import LanguageModule
from frontpage.runs.run_arguments import RunArguments, reopen

GIVEN = "data.path=FILE, and data.column=NAME where it is not `title`; or data.root=FOLDER of a parallel corpus"


def main() -> None:
    """Every title of the file, and without those that the run has trained on; or all tasks of a parallel corpus."""
    parser = RunArguments(
        "Score every title of a file, or a parallel corpus, with the weights of a run, in fp32.", ("run", "metrics")
    )
    more_runs = "further runs, whose probabilities are averaged with the first one's"
    parser.add_argument("words", nargs="*", metavar="RUN or key=value", help=f"{more_runs}; {GIVEN}")
    more = "and val/packed_nats_per_char and val/mainrun_loss, for which the titles are passed over again"
    parser.add_argument("--all-metrics", action="store_true", help=more)
    by_position = "and the nats a character by position in the document, in powers of two (another pass)"
    parser.add_argument("--by-position", action="store_true", help=by_position)
    arguments = parser.parse_intermixed_args()
    words = arguments.words
    runs = [word for word in words if "=" not in word or Path(word).is_dir()]
    overrides = file_overrides([word for word in words if word not in runs])
    times = PartTimes()
    if runs:
        if arguments.all_metrics or arguments.by_position or "data.root" in overrides:
            raise UserError("an ensemble is scored on titles, by the headline metrics: no more options, no data.root")
        if overrides.get("data.join", "none") != "none":
            raise BadValue("data.join", overrides["data.join"], "none: an ensemble scores each title by itself")
        with times.part("scoring"):
            path, column = overrides.get("data.path"), overrides.get("data.column")
            ensemble = score_ensemble(arguments, [arguments.run, *runs], path, column)
        print(ensemble, times, sep="\n")
        save_json(arguments.json, ensemble.as_dict() | {"seconds": times.seconds, "notices": notices()})
        return
    with times.part("opening the run"):
        config, module, known = reopen(arguments)
    if "data.path" not in overrides:
        score_own(arguments, config, module, overrides.get("data.root"), times)
        return
    config = OmegaConf.merge(config, {"data": {key.removeprefix("data."): overrides[key] for key in overrides}})
    path, more = overrides["data.path"], (arguments.all_metrics, arguments.by_position)
    scores = score_file(path, config, module, known, times, *more)
    result = {"run": arguments.run, "checkpoint": arguments.checkpoint, **scores}
    result |= {"seconds": times.seconds, "notices": notices()}
    _print(result)
    print(times)
    save_json(arguments.json, result)


def score_own(
    arguments: Namespace, config: DictConfig, module: LanguageModule, root: str | None, times: PartTimes
) -> None:
    """What the run holds out of a corpus that is no file of titles, every task beside what guessing would score."""
    if "path" in config.data and "root" not in config.data:
        raise UserError("data.path: give the file of titles to score, data.path=titles.parquet")
    if arguments.all_metrics or arguments.by_position:
        raise UserError("--all-metrics and --by-position: of a file of titles; this run's corpus is none")
    if root is not None and "root" not in config.data:
        raise UserError(f"data.root={root}: the run's corpus has no folder; without it, what it holds out is scored")
    with times.part("scoring"):
        scores = score_held_out(arguments.run, config, module, root, arguments.trust)
    books = scores["data"].get("validation_books")
    print(f"held out of {scores['data']['source']}" + (f": {books}" if books else ""))
    for name, value in scores["metrics"].items():
        if value is not None:
            chance = f"{scores['chance'][name]:12.6f} by chance" if name in scores["chance"] else ""
            print(f"{name:<44} {value:12.6f} {chance}".rstrip())
    print(times)
    result = {"run": arguments.run, "checkpoint": arguments.checkpoint, **scores}
    save_json(arguments.json, result | {"seconds": times.seconds, "notices": notices()})


def _print(result: dict) -> None:
    seen = "unknown" if result["seen_share"] is None else f"{result['seen_titles']:,} ({result['seen_share']:.2%})"
    joined = f" in {result['data']['documents']:,} documents" if "documents" in result["data"] else ""
    print(f"titles: {result['titles']:,} of {result['data']['rows']:,} rows{joined}; seen in training: {seen}")
    print(f"{'':<26} {'all titles':>12} {'unseen ones':>12}")
    for name, value in result["metrics"].items():
        values = [value, (result["metrics_unseen"] or {}).get(name)]
        print(f"{name:<26} " + " ".join("-".rjust(12) if v is None else f"{v:12.6f}" for v in values))
    if "nats_by_position" in result:
        print(position_table(result["nats_by_position"]))


if __name__ == "__main__":
    program(main)
