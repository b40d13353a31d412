"""One page of a study: `python scripts/sweep_report.py <study> [--test titles.parquet] [--output page.html]`."""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

from dataclasses import asdict
from typing import Any

from frontpage.analysis.pages.sweeps.best import trial_of
from frontpage.analysis.pages.sweeps.config_folders import add_config_dir, with_config_dir
from frontpage.analysis.pages.sweeps.study_file import need_plotly, open_study
from frontpage.analysis.pages.sweeps.summary import PAGE, best_or_why, page_beside, summary
from frontpage.analysis.pages.sweeps.sweep import Sweep, read_sweep
from frontpage.analysis.pages.sweeps.winner_score import kept_scores, score_winner
from frontpage.command.arguments import Arguments, number, save_json
from frontpage.command.errors import BadValue
from frontpage.command.notices import notices
from frontpage.command.output_file import OutputFile, holding
from frontpage.evaluation.metrics import HEADLINE
from frontpage.runs.run_arguments import add_trust

OURS = holding('<script type="application/json" id="figures">')


def main() -> None:
    """Read the study, score its winner where that is asked for, draw, write."""
    parser = Arguments("Write one HTML page about a study; it needs no network.", ("study", "counts", "pareto"))
    parser.add_argument(
        "study", help="a study's name, its journal file, or a database URL (#NAME picks one of several)"
    )
    parser.add_output("--output", OURS, help=f"the page ({PAGE} beside the study)")
    parser.add_argument(
        "--test", metavar="FILE", help="titles that the search has not seen, to score the winner on once"
    )
    parser.add_argument("--column", help="of the test file (what the trials' data.column says)")
    parser.add_argument("--trial", type=number(int, 0), help="the trial to score (the best; by the first objective)")
    parser.add_argument("--again", action="store_true", help="score though another trial or file has been scored")
    add_config_dir(parser)
    add_trust(parser)
    arguments = parser.parse_args()
    if not arguments.study:
        raise BadValue("study", "", "give a study's name, its journal file or a database URL")
    if arguments.test is None:
        for key in ("trial", "column"):
            if getattr(arguments, key) is not None:
                raise BadValue(f"--{key}", getattr(arguments, key), "needs --test=FILE")
        if arguments.again:
            raise BadValue("--again", True, "needs --test=FILE")
    need_plotly()
    sweep = read_sweep(open_study(arguments.study))
    output = arguments.output or OutputFile("--output", page_beside(sweep), OURS)
    output.check(arguments.overwrite)
    if arguments.test is not None:
        trial = trial_of(sweep, arguments.trial)
        scores = score_winner(sweep, trial, arguments.test, arguments.column, arguments.again, arguments.trust)
    else:
        scores = kept_scores(sweep)

    best, lacking = best_or_why(sweep, arguments.study, arguments.trust, arguments.config_dir)
    from frontpage.analysis.pages.sweeps.figures import importances, panels_of  # these need plotly
    from frontpage.analysis.pages.sweeps.page import page

    shares = importances(sweep)
    panels = panels_of(sweep, shares)
    promote = with_config_dir(f"make promote STUDY={arguments.study}", arguments.config_dir)
    text = page(sweep, panels, best, lacking, promote, scores, notices())
    output.write(text)
    drawn = sum(not isinstance(figures, str) for figures in panels.values())
    _print(sweep, scores)
    print(f"page: {output.path} ({len(text.encode()) / 1e6:.1f} MB, {drawn} of {len(panels)} plots drawn)")
    result = summary(sweep) | {
        "importances": dict(zip(sweep.objectives, shares, strict=True)),
        "command": best.command if best else None,
        "test": [asdict(score) for score in scores],
        "page": str(output.path),
        "notices": notices(),
    }
    save_json(arguments.json, result)


def _print(sweep: Sweep, scores: list[Any]) -> None:
    print(f"study {sweep.name}: " + (", ".join(f"{n} {state}" for state, n in sweep.counts.items()) or "no trials yet"))
    if sweep.winner is not None:
        values = ", ".join(
            f"{name} {value:.6g}" for name, value in zip(sweep.objectives, sweep.winner.values, strict=True)
        )
        print(f"best: trial {sweep.winner.number}, {values}")
    for score in scores:
        seen = "unknown" if score.trained_on is None else f"{score.trained_on:,}"
        error = "" if score.error is None else f" ± {score.error:.4f}"
        print(
            f"test: trial {score.trial}, {HEADLINE.name} {score.value:.4f}{error} on {score.source}"
            f" ({score.of_titles} titles; seen in training and left out: {seen})"
        )


if __name__ == "__main__":
    program(main)
