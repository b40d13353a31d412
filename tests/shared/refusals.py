"""A command that must be refused, and leave everything as it was."""

import pytest
from messages import check_message, contents, folders
from tiny import TINY


@pytest.fixture(name="mistake")
def mistake_fixture(command, tmp_path):
    """mistake(overrides, *pieces) runs a command that must be refused with a message that holds every piece."""

    def refused(overrides: tuple[str, ...] | list[str] | str, *pieces: str) -> str:
        before, folders_before = contents(tmp_path), folders(tmp_path)
        outcome = command(*TINY, *([overrides] if isinstance(overrides, str) else overrides))
        assert outcome.status == 2, outcome.stdout[-2000:] + outcome.stderr
        check_message(outcome.stderr, pieces)
        after = contents(tmp_path)
        assert {path: after.get(path) for path in before} == before, "a file was changed or lost"
        assert not [path for path in after.keys() - before.keys() if "cache" not in path.parts], "something was left"
        assert folders(tmp_path) == folders_before, "a folder was left or lost"
        return outcome.stderr

    return refused
