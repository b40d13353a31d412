"""docs/leaderboard.md, made of the records."""

import math
import shlex
from collections.abc import Iterable, Sequence

from frontpage.analysis.leaderboard import exercise
from frontpage.analysis.leaderboard.aim import aim_of
from frontpage.analysis.leaderboard.records import Record
from frontpage.analysis.leaderboard.tracks import TRACKS, Track
from frontpage.command.config_folder import ROOT
from frontpage.evaluation.metrics import ratio_with_error
from frontpage.runs.record import commits_of, processors_of

PAGE = ROOT / "docs" / "leaderboard.md"
HEADER = """\
# Leaderboard

The lowest losses that were reached, each by runs that are kept and that one command trains again.

<!-- made by scripts/leaderboard.py; do not edit: docs/records/ is what it is made of -->

Every row is a folder of `docs/records/`: the `run.json` of each of its runs, the nats of each validation title, and a \
paragraph. The loss is `val/nats_per_char` of the best checkpoint in fp32 on this project's validation titles \
([metrics](metrics.md)): the mean over seeds ± its standard error over seeds, or of one run over titles. *Last* is \
that of the last validation, which nothing chose; the best is chosen on the titles that it is scored on. The \
difference to the first of a track is paired by title, ± its standard error over titles; it is left out between sets \
of titles that differ. *Later* is the loss on titles of a later time, scored once. Titles shown, FLOPs and seconds are \
of one run of training, of all runs together in an ensemble; a technique that reads a title several times an update \
has so many passes.

`python scripts/verify_record.py NAME --titles hn_titles.parquet` trains a record again, on the \
[titles](metrics.md#the-titles-behind-the-numbers) that it names, and says whether it holds; how to enter one stands \
in [CONTRIBUTING.md](../CONTRIBUTING.md#entering-a-record).
"""
COLUMNS = (
    "record",
    "loss",
    "last",
    "to the first",
    "seeds",
    "later",
    "titles shown",
    "passes a title",
    "FLOPs",
    "seconds",
    "processor",
    "commit",
)


def page_of(records: Sequence[Record]) -> str:
    """The whole page."""
    return "\n".join([HEADER, *(_section(track, records) for track in TRACKS.values()), exercise.section(records)])


def ranked(track: Track, records: Sequence[Record]) -> list[Record]:
    """The records of a track, the best first; of work those with the lowest aim, and of these the least work.

    A record of work that no longer reaches its aim stands last.
    """
    found = [record for record in records if record.track == track]
    if not track.by_work:
        return sorted(found, key=lambda one: one.loss)
    aims = {one.name: aim_of(one, records) for one in found}
    losses = {name: math.inf if aim is None else aim.loss for name, aim in aims.items()}
    return sorted(found, key=lambda one: (losses[one.name], one.work("training_flops")))


def _section(track: Track, records: Sequence[Record]) -> str:
    found = ranked(track, records)
    parts = [f"## {track.heading}\n", f"{track.about}\n"]
    if not found:
        return "\n".join([*parts, "No record yet.\n"])
    columns = [*COLUMNS, "reaches"] if track.by_work else [*COLUMNS]
    lines = [columns, ["---"] * len(columns)]
    for record in found:
        lines.append([*cells(record, found[0]).values()] + ([_reached(record, records)] if track.by_work else []))
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return "\n".join([*parts, table, *map(_paragraph, found)])


def cells(record: Record, first: Record) -> dict[str, str]:
    """A record's row, by COLUMNS; `first` is the best of its track."""
    runs = [run.record for run in record.runs]
    commits = [commit for run in runs for commit in commits_of(run)]
    over = "seeds" if record.spread is not None else "titles"
    row = (
        f"[{record.name}](records/{record.name})",
        f"{record.loss:.4f} ± {record.error:.4f} ({over})",
        "" if record.last is None else f"{record.last:.4f}",
        _difference(record, first),
        ", ".join(str(run.seed) for run in record.runs),
        _later(record),
        _count(record.work("titles_shown")),
        _several(str(run.get("passes_per_title", 1)) for run in runs),
        _flops(record.work("training_flops")),
        _count(record.work("seconds")),
        _several(one for run in runs for one in processors_of(run)),
        _several(commits),
    )
    return dict(zip(COLUMNS, row, strict=True))


def _difference(record: Record, first: Record) -> str:
    if record is first or record.titles != first.titles:
        return ""
    difference, error = ratio_with_error(record.nll - first.nll, record.characters)
    return f"{difference:+.4f} ± {error:.4f}"


def _later(record: Record) -> str:
    if not record.later:
        return ""
    one = record.later[0]
    return f"{one['value']:.4f} ± {one['error']:.4f} ({one['titles']:,} titles)"


def _reached(record: Record, records: Iterable[Record]) -> str:
    """The record whose loss it reaches, and the share of that one's operations, or that it no longer does."""
    aim = aim_of(record, records)
    if aim is None:
        return f"{record.reaches}, no longer reached"
    mine, its = record.work("training_flops"), aim.work("training_flops")
    return f"{record.reaches}, {mine / its:.1%} of its FLOPs" if mine and its else str(record.reaches)


def _paragraph(record: Record) -> str:
    words, file = record.recipe.words(record.runs[0].seed), record.runs[0].record["config"]["data"].get("path")
    command = shlex.join(["python", "train.py", *words, *([f"data.path={file}"] if file else [])])
    return f"**{record.name}** (`{command}`): {' '.join(record.about.split())}\n"


def _several(values: Iterable[str]) -> str:
    return ", ".join(sorted({*values}))


def _count(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _flops(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
