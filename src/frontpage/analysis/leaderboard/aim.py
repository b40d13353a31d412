"""The aim of a record of work: the loss of another record, which it reaches or reaches no longer."""

from collections.abc import Iterable, Sequence

from frontpage.analysis.leaderboard.records import Record, read_record
from frontpage.analysis.leaderboard.scores import KeptScores
from frontpage.analysis.leaderboard.tracks import Track
from frontpage.command.endings import Failure
from frontpage.command.errors import BadValue


def aim_of(record: Record, records: Iterable[Record]) -> Record | None:
    """The record that this one reaches today; None where that is gone, has other titles, or has become better."""
    aim = next((one for one in records if one.name == record.reaches), None)
    return aim if aim is not None and aim.titles == record.titles and record.loss <= aim.loss else None


def check_reached(record: Record) -> None:
    """Raise a Failure where a record of work does not reach its aim any more."""
    if record.track.by_work and aim_of(record, [aim := read_record(str(record.reaches))]) is None:
        if aim.titles != record.titles:
            raise Failure(f"the record does not hold: {aim.name}, whose loss it reaches, is now of other titles")
        losses = f"its loss is {record.loss:.6f}, and that of {aim.name} is now {aim.loss:.6f}"
        raise Failure(f"the record does not hold: {losses}: no longer reached")


def check_aim(track: Track, name: str, reaches: str | None, scores: Sequence[KeptScores]) -> None:
    """Raise a UserError unless a record of work names another, and its mean loss is as low as that one's."""
    if not track.by_work:
        if reaches is not None:
            raise BadValue("--reaches", reaches, "only a record of the least work has another's loss as its aim")
        return
    if reaches is None:
        raise BadValue("--reaches", None, "the name of the record whose loss is reached with less work")
    if reaches == name:
        raise BadValue("--reaches", reaches, "the record itself; the name of another one")
    aim, value = read_record(reaches), sum(one.value[0] for one in scores) / len(scores)
    if aim.titles != scores[0].titles:
        raise BadValue("--reaches", reaches, "was validated on other titles")
    if value > aim.loss:
        raise BadValue("--reaches", reaches, f"its loss is {aim.loss:.4f}, and these runs' {value:.4f}: not reached")
