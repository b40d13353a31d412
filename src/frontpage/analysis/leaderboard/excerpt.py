"""The table of README.md: the best record of each track, beside what was published on the exercise."""

import re
from collections.abc import Sequence

from frontpage.analysis.leaderboard.aim import aim_of
from frontpage.analysis.leaderboard.page import cells, ranked
from frontpage.analysis.leaderboard.records import Record
from frontpage.analysis.leaderboard.tracks import TRACKS
from frontpage.analysis.published import CLAIMS, TABLE
from frontpage.command.config_folder import ROOT

README = ROOT / "README.md"
PLACE = re.compile(
    r"(?<=<!-- leaderboard: written by scripts/leaderboard.py -->\n).*?(?=<!-- leaderboard ends -->)", re.S
)
SHOWN = ("loss", "titles shown", "FLOPs")  # of the page's columns


def with_excerpt(text: str, records: Sequence[Record]) -> str:
    """README.md's text with the table that the records make, between its two marks."""
    return PLACE.sub(lambda _: excerpt_of(records), text)


def excerpt_of(records: Sequence[Record]) -> str:
    """The table in Markdown. What was published has the original metric only: it is taken to full coverage."""
    rows = [("", "`val/nats_per_char`", *SHOWN[1:]), ["---"] * (1 + len(SHOWN))]
    for track in TRACKS.values():
        for record in [one for one in ranked(track, records) if not track.by_work or aim_of(one, records)][:1]:
            row = cells(record, record)
            link = row["record"].replace("](", "](docs/")
            rows.append((f"{track.heading}: {link}", *(row[name] for name in SHOWN)))
    coverage = CLAIMS[0].coverage()
    for name, legacy in zip(("SGD, as the exercise was set", "the same with AdamW"), TABLE[-1][1:], strict=True):
        rows.append((f"published, 27.2 M weights: {name}", f"{legacy / coverage:.3f} (estimated)", "", ""))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
