"""A record's folder, made beside the one that it replaces, and put into its place when it is whole."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from frontpage.analysis.leaderboard.records import ABOUT, ENTRY, LATER, SCORES, json_of
from frontpage.analysis.leaderboard.scores import KeptScores
from frontpage.command.json_file import write_json
from frontpage.command.output_file import replace_file


def write_record(
    place: Path,
    entry: Mapping[str, Any],
    runs: Mapping[int, tuple[Mapping[str, Any], KeptScores]],
    averaged: KeptScores | None,
    about: str | None,
) -> None:
    """Write the record `place`: its entry, of each run by its seed what is kept of its run.json, and its scores.

    Of a record that was there its paragraph stays where `about` is None, and its later scores where its entry is the
    same. An error leaves it as it was.
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
        kept = {ABOUT: about is None, LATER: (place / ENTRY).is_file() and json_of(place / ENTRY) == entry}
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
