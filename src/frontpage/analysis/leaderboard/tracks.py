"""The tracks of the leaderboard: what is compared within each, and what a record must be to stand there."""

from dataclasses import dataclass

MOST_PASSES = 7  # times that a title may be shown, the rule of the exercise


@dataclass(frozen=True)
class Track:
    """A comparison: of the loss, or, with `by_work`, of the work until another record's loss is reached.

    `titles` is how many a run chooses from, trained on and validated on together; None: any number. In a track of
    `ensembles` a record is the mean of its runs' probabilities.
    """

    name: str
    heading: str
    about: str
    titles: int | None = None
    by_work: bool = False
    ensembles: bool = False


TRACKS = {
    track.name: track
    for track in (
        Track(
            "small",
            "Lowest loss, 20,000 titles",
            "One model; at most seven epochs, no other text, and meant for 40 minutes on two cores: what takes longer"
            " stands here to be compared with.",
            20_000,
        ),
        Track("full", "Lowest loss, 100,000 titles", "One model; at most seven epochs, no other text.", 100_000),
        Track(
            "work",
            "Least work to a loss",
            "The fewest operations that reach the loss of the record named.",
            by_work=True,
        ),
        Track(
            "ensembles",
            "Ensembles",
            "The mean of several runs' probabilities a token, or a student of one; the work is that of all, but of a"
            " student's own run alone.",
            ensembles=True,
        ),
    )
}
