"""A record's folder, made beside the one that it replaces, and put into its place when it is whole."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from frontpage.analysis.leaderboard.experiment import is_own
from frontpage.analysis.leaderboard.records import ABOUT, ENTRY, LATER, SCORES, json_of
from frontpage.analysis.leaderboard.scores import KeptScores
from frontpage.command.json_file import write_json
from frontpage.command.leaves import leaves
from frontpage.command.output_file import replace_file


def write_record(
    place: Path,
    entry: Mapping[str, Any],
    runs: Mapping[int, tuple[Mapping[str, Any], KeptScores]],
    averaged: KeptScores | None,
    about: str | None,
) -> None:
    """Write the record `place`: its entry, of each run by its seed what is kept of its run.json, and its scores.

    Of a record that was there its paragraph stays where `about` is None, and its later scores where its entry and its
    runs' settings, seeds apart, are the same. An error leaves it as it was.
    """
    new, old = (place.with_name(f"{place.name}.{word}") for word in ("new", "old"))  # no names of records
    if old.is_dir() and not place.is_dir():  # a kill came between the two last steps
        old.rename(place)
    for left in filter(Path.is_dir, (new, old)):
        shutil.rmtree(left)
    try:
        for seed, (record, scores) in runs.items():
            (new / f"seed_{seed}").mkdir(parents=True)
            write_json(new / f"seed_{seed}" / "run.json", record)
            scores.save(new / f"seed_{seed}" / SCORES)
        if averaged is not None:
            averaged.save(new / SCORES)
        kept = {ABOUT: about is None, LATER: _same_recipe(place, entry, [record for record, _ in runs.values()])}
        for name in (name for name, stays in kept.items() if stays and (place / name).is_file()):
            shutil.copyfile(place / name, new / name)
        if about is not None:
            replace_file(new / ABOUT, f"{about.strip()}\n".encode())
        write_json(new / ENTRY, entry)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    if place.is_dir():
        place.rename(old)
    new.rename(place)
    shutil.rmtree(old, ignore_errors=True)


def _same_recipe(place: Path, entry: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the record at `place` has this entry, and runs of the settings that these have."""
    if not (place / ENTRY).is_file() or json_of(place / ENTRY) != entry:
        return False
    before = [json_of(path) for path in sorted(place.glob("seed_*/run.json"))]
    return all(_settings(one) == _settings(runs[0]) for one in [*before, *runs])


def _settings(run: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a run's config by their keys, without those of a single run, and without seeds."""
    found = leaves(run.get("config") or {})
    return {key: value for key, value in found if not is_own(key) and not key.rpartition(".")[2].endswith("seed")}
