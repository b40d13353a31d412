"""Titles from a data set on the Hugging Face hub, or a clear error within seconds."""

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from frontpage.command.errors import BadValue, UserError, nearest
from frontpage.command.notices import notice
from frontpage.data.times import as_times

PATIENCE = 5  # seconds for the one question that tells whether the hub answers
COMMIT = re.compile("[0-9a-f]{40}")


def read_hub_titles(repository: str, revision: str, column: str) -> tuple[list[str], str]:
    """(every row of `column` of the `train` split, the commit that was read); UserError without hub and local copy.

    The hub is asked once, briefly, which commit `revision` means. Where it does not answer, the newest copy that an
    earlier run left in the local cache is used, and a notice names its commit; a `revision` that is a commit itself is
    refused where that copy is of another.
    """
    table, read = _table(repository, revision)
    if column not in table.column_names:
        listed = ", ".join(table.column_names)
        raise BadValue("data.column", column, f"{repository} has{nearest(column, table.column_names)}: {listed}")
    titles = table[column][:]
    for number, title in enumerate(titles, start=1):
        if not isinstance(title, str):
            raise BadValue("data.column", column, f"row {number} of {repository} holds {title!r}, not text")
    return titles, read


def read_hub_times(repository: str, commit: str, column: str) -> list[datetime]:
    """The time of every row that `read_hub_titles` has read, from the copy that it has left; UserError for no such."""
    table, _ = _table(repository, commit)
    if column not in table.column_names:
        listed = ", ".join(table.column_names)
        raise BadValue("data.time_column", column, f"{repository} has{nearest(column, table.column_names)}: {listed}")
    return as_times(table[column][:], column, repository)


def _table(repository: str, revision: str) -> tuple[Any, str]:
    """(the `train` split, the commit that it is of); the cache has a folder for each commit, called by it."""
    wait_for_answer = _ask_for_commit(repository, revision)
    import datasets  # takes seconds, while the hub thinks; and only this source needs it

    answer = wait_for_answer()
    if isinstance(answer, Exception):
        _raise_refusal(answer, repository, revision)
    reachable, reason = isinstance(answer, str), type(answer).__name__
    commit = answer if reachable else revision
    try:
        with _offline(datasets.config, not reachable):
            table = datasets.load_dataset(repository, split="train", revision=commit)
    except Exception as error:
        if reachable:
            raise BadValue("data.repository", repository, f"cannot be loaded ({error})") from error
        raise UserError(
            f"data=hn_titles: the Hugging Face hub cannot be reached ({reason}) and no copy of {repository} is cached;"
            " give a file with data.path=... or use the embedded corpus with data=synthetic"
        ) from error
    read = Path(table.cache_files[0]["filename"]).parent.name if table.cache_files else commit
    if COMMIT.fullmatch(commit) and read != commit:
        raise BadValue("data.revision", revision, f"the hub did not give it, and the cached copy is {read}")
    if not reachable:
        used = f"the cached copy of {repository} is used, {read}"
        notice(f"the Hugging Face hub cannot be reached ({reason}): {used}")
    return table, read


def _raise_refusal(answer: Exception, repository: str, revision: str) -> None:
    """Raise UserError where the hub has no such thing or lets nobody in; any other failure is a network's."""
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(answer, HFValidationError):
        raise BadValue("data.repository", repository, "OWNER/NAME, as the hub calls it") from answer
    if isinstance(answer, RevisionNotFoundError):
        raise BadValue("data.revision", revision, f"the hub has no such revision of {repository}") from answer
    if isinstance(answer, RepositoryNotFoundError):
        raise BadValue("data.repository", repository, "the hub has no such data set") from answer
    if isinstance(answer, HfHubHTTPError) and _is_of_token(answer.response):
        stands = "it is in the environment or in .env, or `hf auth login` has stored it"
        raise UserError(f"HF_TOKEN: the hub does not accept it ({answer.response.status_code}); {stands}") from answer


def _is_of_token(response: Any) -> bool:
    """Whether a token was sent and refused."""
    return response.status_code in (401, 403) and "authorization" in response.request.headers


@contextmanager
def _offline(config: Any, offline: bool) -> Iterator[None]:
    """Keep the library, whose settings are the whole process's, from asking a hub that is silent for minutes."""
    before = config.HF_HUB_OFFLINE
    config.HF_HUB_OFFLINE = before or offline
    try:
        yield
    finally:
        config.HF_HUB_OFFLINE = before


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
