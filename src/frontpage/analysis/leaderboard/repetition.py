"""A record's runs made once more, in a fresh folder, and scored as the kept ones were."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from frontpage.analysis.comparison import title_nats
from frontpage.analysis.leaderboard.entry import check_run, scores_of_ensemble
from frontpage.analysis.leaderboard.experiment import differences
from frontpage.analysis.leaderboard.records import Record
from frontpage.analysis.leaderboard.scores import KeptScores
from frontpage.analysis.leaderboard.verification import Verdict, verdict_on
from frontpage.analysis.run_set import train_all
from frontpage.command.endings import Failure
from frontpage.command.errors import BadValue
from frontpage.command.override_words import literal
from frontpage.runs.provenance import said

WORK_APART = 0.02  # share by which operations of seeds may differ


def check_experiment(record: Record, folders: Sequence[Path | str] = ()) -> None:
    """Raise a Failure where a record's experiment is today another one than its runs were made with."""
    for run in record.runs:
        changed = differences(record.recipe, run.record["config"], folders)
        if changed:
            raise Failure(f"the record does not hold: {record.recipe} has now {said(changed)}")


def seeds_to_run(record: Record, seed: int | None) -> list[int]:
    """The seed asked for, or the record's first; of an ensemble all, and a UserError for one alone."""
    if record.averaged is None:
        known = [run.seed for run in record.runs]
        if seed not in (None, *known) and record.spread is None:
            raise BadValue("--seed", seed, f"{known[0]}: how far its loss differs between seeds is not known of one")
        return [known[0] if seed is None else seed]
    if seed is not None:
        raise BadValue("--seed", seed, "an ensemble is of all its seeds; leave it away")
    return [run.seed for run in record.runs]


def train_again(
    record: Record, seeds: Sequence[int], folder: Path, titles: str | None, folders: Sequence[Path | str] = ()
) -> list[Path]:
    """Train the record's experiment with each of the seeds below `folder`; the runs' directories.

    The same `folder` goes on where it was broken off. The file of its titles is `titles`, or lies in the working
    directory; else UserError. That it has these titles is checked when the runs are compared.
    """
    wanted = record.runs[0].record["config"]["data"].get("path")
    if wanted is not None and titles is None:
        if not Path(wanted).is_file():
            raise BadValue("--titles", None, f"the record's titles are of a file, {wanted}, which is not here; name it")
        titles = wanted
    more = [f"--config-dir={Path(one).absolute()}" for one in folders]
    more += [f"data.path={literal(str(Path(titles).absolute()))}"] if titles is not None else []
    train_all({f"seed_{seed}": [*record.recipe.words(seed), *more] for seed in seeds}, folder, jobs=1)
    return [folder / f"seed_{seed}" for seed in seeds]


def fresh_folder(record: Record) -> Path:
    """Where a repetition of today goes."""
    return Path("logs", "records", record.name, f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}")


def verify_runs(
    record: Record, runs: Sequence[Path], trusted: Sequence[Path] = (), folders: Sequence[Path | str] = ()
) -> Verdict:
    """What new runs of a record's experiment say of it; UserError where they are none of it."""
    said = [check_run(run, record.recipe, folders) for run in runs]
    seeds = [one["config"]["seed"] for one in said]
    if record.track.by_work:
        _check_work(record, runs[0], said[0]["training_flops"])
    if record.averaged is None:
        if len(runs) > 1:
            raise BadValue("--run", " ".join(map(str, runs)), "one run: only an ensemble's record takes several")
        if record.spread is None and seeds[0] not in (known := [run.seed for run in record.runs]):
            allowed = f"a run of seed {known[0]}: how far its loss differs between seeds is not known of one"
            raise BadValue("--run", runs[0], allowed)
        return verdict_on(record, seeds[0], KeptScores.of_run(title_nats(runs[0], trusted)))
    if sorted(seeds) != [run.seed for run in record.runs]:
        raise BadValue("--run", " ".join(map(str, seeds)), "an ensemble is of all its record's seeds")
    return verdict_on(record, None, scores_of_ensemble(runs, trusted))


def _check_work(record: Record, run: Path, flops: float) -> None:
    """Raise a UserError where a run took other work than the record claims; seeds differ in some tokens."""
    claimed = record.work("training_flops")
    if claimed is not None and abs(flops / claimed - 1) > WORK_APART:
        raise BadValue("run", run, f"it took {flops:.4g} operations, and the record claims {claimed:.4g}")
