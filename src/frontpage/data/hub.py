"""Titles from a data set on the Hugging Face hub, or a clear error within seconds."""

from frontpage.errors import UserError, bad_value, nearest
from frontpage.notices import notice

TIMEOUT = 8  # seconds for the one question that tells whether the hub answers


def read_hub_titles(repository: str, revision: str, column: str) -> tuple[list[str], str]:
    """(every row of `column` of the `train` split, the commit that was read); UserError without hub and local copy.

    The hub is asked once, briefly, which commit `revision` means. Where it does not answer, a copy that an earlier
    run left in the local cache is used, and a notice says so.
    """
    import datasets  # takes seconds to import, and only this source needs it
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    commit = revision
    try:
        commit = HfApi().dataset_info(repository, revision=revision, timeout=TIMEOUT).sha or revision
        reachable = True
    except RevisionNotFoundError as error:
        raise bad_value("data.revision", revision, f"the hub has no such revision of {repository}") from error
    except RepositoryNotFoundError as error:
        raise bad_value("data.repository", repository, "the hub has no such data set") from error
    except Exception as error:  # every way in which a network can fail, httpx's own among them
        reachable, reason = False, type(error).__name__
        datasets.config.HF_HUB_OFFLINE = True  # do not retry for minutes
    try:
        table = datasets.load_dataset(repository, split="train", revision=commit)
    except Exception as error:
        if reachable:
            raise bad_value("data.repository", repository, f"cannot be loaded ({error})".replace("\n", " ")) from error
        raise UserError(
            f"data=hn_titles: the Hugging Face hub cannot be reached ({reason}) and no copy of {repository} is cached;"
            " give a file with data.path=... or use the embedded corpus with data=synthetic"
        ) from error
    if not reachable:
        notice(f"the Hugging Face hub cannot be reached ({reason}): the cached copy of {repository} is used")
    if column not in table.column_names:
        listed = ", ".join(table.column_names)
        raise bad_value("data.column", column, f"{repository} has{nearest(column, table.column_names)}: {listed}")
    titles = table[column][:]
    for number, title in enumerate(titles, start=1):
        if not isinstance(title, str):
            raise bad_value("data.column", column, f"row {number} of {repository} holds {title!r}, not text")
    return titles, commit
