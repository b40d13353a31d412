"""`frontpage.runs` has `load_run`, which is fetched where it is asked for, and nothing else under that roof."""

import pytest

import frontpage.runs
import frontpage.runs.reopen


def test_the_folder_of_runs_gives_load_run_and_nothing_that_it_has_not():
    assert frontpage.runs.load_run is frontpage.runs.reopen.load_run
    with pytest.raises(AttributeError, match="has no attribute 'lode_run'"):
        _ = frontpage.runs.lode_run
