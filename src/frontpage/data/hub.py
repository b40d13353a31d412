"""Titles from a data set on the Hugging Face hub, or a clear error within seconds."""

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime

from frontpage.command.errors import BadValue, UserError, nearest
from frontpage.command.notices import notice
from frontpage.data.times import as_times

PATIENCE = 5  # seconds for the one question that tells whether the hub answers


def read_hub_titles(repository: str, revision: str, column: str) -> tuple[list[str], str]:
    """(every row of `column` of the `train` split, the commit that was read); UserError without hub and local copy.

    The hub is asked once, briefly, which commit `revision` means. Where it does not answer, a copy that an earlier
    run left in the local cache is used, and a notice says so.
    """
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    wait_for_answer = _ask_for_commit(repository, revision)
    import datasets  # takes seconds, while the hub thinks; and only this source needs it

    answer = wait_for_answer()
    if isinstance(answer, RevisionNotFoundError):
        raise BadValue("data.revision", revision, f"the hub has no such revision of {repository}") from answer
    if isinstance(answer, RepositoryNotFoundError):
        raise BadValue("data.repository", repository, "the hub has no such data set") from answer
    reachable, reason = isinstance(answer, str), type(answer).__name__
    if not reachable:
        datasets.config.HF_HUB_OFFLINE = True  # do not retry for minutes
    commit = answer if reachable else revision
    try:
        table = datasets.load_dataset(repository, split="train", revision=commit)
    except Exception as error:
        if reachable:
            raise BadValue("data.repository", repository, f"cannot be loaded ({error})") from error
        raise UserError(
            f"data=hn_titles: the Hugging Face hub cannot be reached ({reason}) and no copy of {repository} is cached;"
            " give a file with data.path=... or use the embedded corpus with data=synthetic"
        ) from error
    if not reachable:
        notice(f"the Hugging Face hub cannot be reached ({reason}): the cached copy of {repository} is used")
    if column not in table.column_names:
        listed = ", ".join(table.column_names)
        raise BadValue("data.column", column, f"{repository} has{nearest(column, table.column_names)}: {listed}")
    titles = table[column][:]
    for number, title in enumerate(titles, start=1):
        if not isinstance(title, str):
            raise BadValue("data.column", column, f"row {number} of {repository} holds {title!r}, not text")
    return titles, commit


def read_hub_times(repository: str, commit: str, column: str) -> list[datetime]:
    """The time of every row that `read_hub_titles` has read, from the copy that it has left; UserError for no such."""
    import datasets

    table = datasets.load_dataset(repository, split="train", revision=commit)
    if column not in table.column_names:
        listed = ", ".join(table.column_names)
        raise BadValue("data.time_column", column, f"{repository} has{nearest(column, table.column_names)}: {listed}")
    return as_times(table[column][:], column, repository)


def _ask_for_commit(repository: str, revision: str) -> Callable[[], str | Exception]:
    """Ask which commit `revision` is; the result waits for it, or for what kept the hub silent for `PATIENCE` seconds.

    The client's own time-out counts for each address and each phase of a connection, and for no look-up of a name.
    """
    from huggingface_hub import HfApi

    logging.getLogger("httpx").setLevel(logging.WARNING)  # it reports every request
    answers: list[str | Exception] = []

    def ask() -> None:
        try:
            answers.append(HfApi().dataset_info(repository, revision=revision, timeout=PATIENCE).sha or revision)
        except Exception as error:  # every way in which a network can fail, httpx's own among them
            answers.append(error)

    def wait() -> str | Exception:
        thread.join(max(deadline - time.monotonic(), 0))
        return answers[0] if answers else TimeoutError(f"no answer in {PATIENCE} seconds")

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    deadline = time.monotonic() + PATIENCE
    return wait
