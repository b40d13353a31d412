"""Entering a record: runs of one experiment, looked at, and kept without what is of their machine alone."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from frontpage.analysis.comparison import title_nats
from frontpage.analysis.curves import logged
from frontpage.analysis.ensemble import check_titles_apart, score_ensemble
from frontpage.analysis.leaderboard import records
from frontpage.analysis.leaderboard.aim import check_aim
from frontpage.analysis.leaderboard.experiment import Recipe, differences, without_places
from frontpage.analysis.leaderboard.record_folder import write_record
from frontpage.analysis.leaderboard.records import ABOUT, NAME, Record, all_records, read_record, teacher_of
from frontpage.analysis.leaderboard.scores import KeptScores
from frontpage.analysis.leaderboard.tracks import MOST_PASSES, TRACKS, Track
from frontpage.command.errors import BadValue
from frontpage.evaluation.metrics import HEADLINE
from frontpage.runs.provenance import in_words
from frontpage.runs.record import damage_of, headline_of, told
from frontpage.runs.record import read_record as read_run
from frontpage.runs.training_titles import title_hashes

KEPT = (
    "status reason git_commit git_dirty sittings versions device processor precision micro_batch"
    " accumulate_grad_batches rows_per_update tokens_per_update passes_per_title parameters non_embedding_parameters"
    " steps tokens_seen titles_shown seconds tokens_per_second training_flops peak_memory_bytes validated_weights"
    " headline metrics validations"
).split()
APART = 0.01  # share by which a loss in run.json and that of its best checkpoint, in fp32, may differ


def enter(
    runs: Sequence[Path],
    name: str,
    track_name: str,
    about: str | None,
    reaches: str | None = None,
    experiment: str | None = None,
    overrides: Sequence[str] = (),
    folders: Sequence[Path | str] = (),
    trusted: Sequence[Path] = (),
) -> Record:
    """Keep `runs`, of one experiment with a seed each, as the record `name`; in the place of one of that name.

    `experiment` is the name in the runs' config where it is not given, `overrides` what they change of it. Every run is
    scored on its validation titles.
    UserError for a run that is not what its track asks for; then nothing is written.
    """
    if not NAME.fullmatch(name):
        raise BadValue("--name", name, "a word of small letters, digits and _")
    track = TRACKS[track_name]
    place = records.RECORDS / name
    if about is None and not (place / ABOUT).is_file():
        raise BadValue("--about", None, f"one paragraph: what the record does, as {place / ABOUT} will keep it")
    found: dict[int, tuple[dict[str, Any], KeptScores]] = {}
    for run in runs:
        name_of_run = experiment or str(told(read_run(run), "config", "name"))
        record = _checked(run, track, Recipe(name_of_run, tuple(overrides)), folders)
        seed = record["config"]["seed"]
        if seed in found:
            raise BadValue("--add", run, f"its seed is {seed}, as that of another run; a record has each seed once")
        found[seed] = record, _scores(run, record, trusted)
    if len({scores.titles for _, scores in found.values()}) > 1:
        raise BadValue("--add", runs[-1], "the runs were validated on different titles")
    names = {record["config"]["name"] for record, _ in found.values()}
    if experiment is None and len(names) > 1:
        raise BadValue("--add", " ".join(sorted(names)), "runs of several experiments; a record is of one")
    students = any(teacher_of(record) for record, _ in found.values())  # each of which is one model
    averaged = scores_of_ensemble(runs, trusted) if track.ensembles and not students else None
    several = [scores for _, scores in found.values()]
    _check_titles(track, name, several[0], runs[-1])
    check_aim(track, name, reaches, several)
    entry = {"track": track_name, "experiment": experiment or names.pop(), "reaches": reaches}
    entry |= {"overrides": [*overrides]} if overrides else {}
    kept = {seed: (_kept(record), scores) for seed, (record, scores) in found.items()}
    write_record(place, entry, kept, averaged, about)
    return read_record(name)


def check_run(run: Path, recipe: Recipe, folders: Sequence[Path | str] = ()) -> dict[str, Any]:
    """The record of a finished run of a recipe; UserError where it is none of it."""
    record = read_run(run)
    if record is None:
        raise BadValue("run", run, damage_of(run) or "it has no run.json")
    if record.get("status") != "finished":
        raise BadValue("run", run, f"its status is {record.get('status')}; a record is of finished runs")
    reason = record.get("reason")
    if reason is not None and not str(reason).startswith("early stopping"):
        raise BadValue("run", run, f"{reason}: a run that goes on elsewhere would end elsewhere")
    changed = differences(recipe, record["config"], folders)
    if changed:
        said = ", ".join(f"{key}={in_words(old)} (there {in_words(new)})" for key, (old, new) in changed.items())
        raise BadValue("run", run, f"its config is not that of {recipe}: {said}")
    processes = record.get("world_size", 1)
    if processes != recipe.processes:
        allowed = f"it had {processes} processes and so {processes} times the rows an update; {recipe} has"
        raise BadValue("run", run, f"{allowed} {recipe.processes} (trainer.devices={processes} among its overrides)")
    return record


def _checked(run: Path, track: Track, recipe: Recipe, folders: Sequence[Path | str]) -> dict[str, Any]:
    """The record of a run that may stand in a track; UserError for any other."""
    record = check_run(run, recipe, folders)
    data, config = record["data"], record["config"]
    if headline_of(record).name != HEADLINE.name:
        raise BadValue("--add", run, f"its headline is {headline_of(record).name}; records are of {HEADLINE.name}")
    if config.get("init_from") is not None:
        raise BadValue("--add", run, "it started from other weights (init_from); a record starts from none")
    taught = teacher_of(record)
    if taught and not track.ensembles:
        allowed = f"is of models that learn from titles alone, and {run} learnt from other runs ({taught})"
        raise BadValue("--track", track.name, allowed)
    check_titles_apart(run)
    chosen = data["train_titles"] + data["validation_titles"]
    if track.titles is not None and chosen != track.titles:
        raise BadValue("--track", track.name, f"is of {track.titles:,} titles, and {run} of {chosen:,}")
    shown = titles_shown(record)
    if shown > MOST_PASSES * data["train_titles"]:
        raise BadValue("--add", run, f"it was shown {shown:,} titles; at most {MOST_PASSES} times each is allowed")
    return record | {"titles_shown": shown, "validations": validations(run)}


def validations(run: Path) -> list[dict[str, float | None]]:
    """What the validations of a run gave on its way, by both metrics."""
    legacy = dict(logged(run, "val/mainrun_loss"))
    honest = logged(run, HEADLINE.name)
    return [{"update": at, "nats_per_char": loss, "mainrun_loss": legacy.get(at)} for at, loss in honest]


def titles_shown(record: Mapping[str, Any]) -> int:
    """How often a title was shown; of a run from before this was written down by its tokens, which were all alike."""
    if record.get("titles_shown") is not None:
        return record["titles_shown"]
    data = record["data"]
    return round(data["train_titles"] * record["tokens_seen"] / data["train_tokens"])


def _scores(run: Path, record: Mapping[str, Any], trusted: Sequence[Path]) -> KeptScores:
    """The nats of a run's validation titles; UserError where they are not those that its run.json speaks of."""
    scores = KeptScores.of_run(title_nats(run, trusted))
    said, value = told(record, "metrics", "best", HEADLINE.name), scores.value[0]
    if said is None or abs(said - value) > APART * value:
        raise BadValue("--add", run, f"its best checkpoint scores {value:.4f}, and its run.json says {said}")
    return scores


def scores_of_ensemble(runs: Sequence[Path], trusted: Sequence[Path] = ()) -> KeptScores:
    """Of the mean of the runs' probabilities, on the titles that they were validated on."""
    given = argparse.Namespace(checkpoint=None, device="auto", trust=list(trusted))
    ensemble = score_ensemble(given, [str(run) for run in runs], None, None)
    return KeptScores.of(title_hashes(ensemble.titles), ensemble.nll, ensemble.sizes.characters)


def _check_titles(track: Track, name: str, scores: KeptScores, run: Path) -> None:
    """Raise a UserError where the other records of a track of so many titles were validated on other ones."""
    others = [one for one in all_records() if one.track == track and one.name != name]
    other = next((one.name for one in others if one.titles != scores.titles), None)
    if track.titles is not None and other is not None:
        allowed = f"was not validated on the titles of {other}, and the track {track.name} compares losses of the same"
        raise BadValue("--add", run, allowed)


def _kept(record: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a run.json."""
    config = without_places(record["config"])
    source = config["data"].get("path") or record["data"].get("source")
    kept = {name: record[name] for name in KEPT if name in record}
    return kept | {"data": {**record["data"], "source": source}, "config": config}
