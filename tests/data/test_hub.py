"""The promises of reading from the hub: the commit that is named is the one that was read; mistakes are one line."""

import json
import os
import sys
import types
from datetime import datetime

import huggingface_hub
import huggingface_hub.constants
import pytest
from hub import Hub

from frontpage.command.errors import BadValue, UserError
from frontpage.command.notices import forget_notices, notices
from frontpage.data import hub

TITLES = ["Show HN: A plain title", "日本語のタイトル", " outer blanks "]
OLD, NEW = "0" * 39 + "a", "0" * 39 + "b"  # commits


@pytest.fixture(autouse=True)
def no_notices_of_others():
    """Each test sees its own."""
    forget_notices()


@pytest.fixture
def fake_hub(monkeypatch):
    """fake_hub(answer, table, cached) stands in for the hub: it answers with a commit or an error, and loads or fails.

    What it loads lies in the cache's folder of the commit `cached`, or in none.
    """

    def install(answer: str | Exception, table: dict | Exception, cached: str | None = None) -> list[dict]:
        def load(repository, **arguments):
            asked.append({"repository": repository, "offline": config.HF_HUB_OFFLINE, **arguments})
            if isinstance(table, Exception):
                raise table
            found = Table(table)
            found.cache_files = [{"filename": f"/cache/0.0.0/{cached}/titles-train.arrow"}] if cached else []
            return found

        asked, config = [], types.SimpleNamespace(HF_HUB_OFFLINE=False)
        monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load, config=config))
        monkeypatch.setattr(hub, "_ask_for_commit", lambda *_: lambda: answer)
        return asked

    return install


class Table(dict):
    """A data set, as far as it is read."""

    column_names = property(lambda self: list(self))


def offline():
    return sys.modules["datasets"].config.HF_HUB_OFFLINE


def test_the_hub_is_read_at_the_commit_that_it_named(fake_hub):
    asked = fake_hub(NEW, {"id": [1, 2], "title": TITLES}, NEW)
    assert hub.read_hub_titles("some/titles", "main", "title") == (TITLES, NEW)
    assert asked == [{"repository": "some/titles", "offline": False, "split": "train", "revision": NEW}]
    assert notices() == []


@pytest.mark.parametrize("revision", ["main", NEW])
def test_without_the_hub_the_cached_copy_is_read_and_its_commit_is_said(fake_hub, revision):
    asked = fake_hub(TimeoutError(), {"title": TITLES}, NEW)
    assert hub.read_hub_titles("some/titles", revision, "title") == (TITLES, NEW)
    assert "cannot be reached (TimeoutError)" in notices()[0] and f"some/titles is used, {NEW}" in notices()[0]
    assert asked[0]["offline"] and not offline()


@pytest.mark.parametrize(("answer", "revision"), [(TimeoutError(), OLD), (OLD, "main"), (OLD, OLD)])
def test_a_copy_of_another_commit_is_refused(fake_hub, answer, revision):
    fake_hub(answer, {"title": TITLES, "time": [1, 2, 3]}, NEW)
    for read in (hub.read_hub_titles, hub.read_hub_times):
        with pytest.raises(BadValue) as raised:
            read("some/titles", revision, "title")
        assert str(raised.value) == f"data.revision={revision}: the hub did not give it, and the cached copy is {NEW}"
    assert notices() == [] and not offline()


def test_times_are_of_the_commit_whose_titles_were_read_with_the_hub_or_without(fake_hub):
    for answer in (NEW, TimeoutError()):
        asked = fake_hub(answer, {"title": TITLES, "time": ["2016-01-30"]}, NEW)
        assert hub.read_hub_times("some/titles", NEW, "time") == [datetime(2016, 1, 30)]
        assert asked[0]["revision"] == NEW and asked[0]["offline"] is (answer != NEW) and not offline()


@pytest.mark.slow
def test_the_library_calls_its_folders_by_commits_and_takes_the_newest_whatever_is_asked(monkeypatch, tmp_path):
    import datasets

    for age, commit in enumerate([NEW, OLD]):
        folder = tmp_path / "some___titles" / "default" / "0.0.0" / commit
        folder.mkdir(parents=True)
        table = datasets.Dataset.from_dict({"title": [commit]})
        with datasets.arrow_writer.ArrowWriter(path=str(folder / "titles-train.arrow")) as writer:
            writer.write_table(table.data.table)
            writer.finalize()
        split = {"name": "train", "num_examples": 1, "dataset_name": "titles"}
        about = {"config_name": "default", "dataset_name": "titles", "splits": {"train": split}}
        (folder / "dataset_info.json").write_text(json.dumps(about | {"features": table.features.to_dict()}))
        os.utime(folder, (1e9 - age, 1e9 - age))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    monkeypatch.setattr(hub, "_ask_for_commit", lambda *_: lambda: TimeoutError())
    for revision in ("main", NEW):
        assert hub.read_hub_titles("some/titles", revision, "title") == ([NEW], NEW)
    with pytest.raises(BadValue, match=f"data.revision={OLD}: .* cached copy is {NEW}"):
        hub.read_hub_titles("some/titles", OLD, "title")


@pytest.mark.parametrize(
    ("answer", "table", "pieces"),
    [
        ("c0ffee", {"titel": ["a"], "id": ["b"]}, ["data.column=title", "did you mean 'titel'", "titel, id"]),
        ("c0ffee", {"title": ["a", None]}, ["data.column=title", "row 2 of some/titles", "not text"]),
        ("c0ffee", OSError("disk\nfull"), ["data.repository=some/titles", "cannot be loaded (disk full)"]),
        ("revision", {}, ["data.revision=main", "no such revision of some/titles"]),
        ("repository", {}, ["data.repository=some/titles", "no such data set"]),
        (TimeoutError(), OSError("offline"), ["data=hn_titles", "some/titles", "data.path=...", "data=synthetic"]),
    ],
)
def test_what_is_wrong_with_the_hub_is_said(fake_hub, answer, table, pieces):
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    kinds = {"revision": RevisionNotFoundError, "repository": RepositoryNotFoundError}
    if answer in kinds:
        answer = kinds[answer].__new__(kinds[answer])  # its constructor wants a response of httpx
    fake_hub(answer, table)
    with pytest.raises(UserError) as raised:
        hub.read_hub_titles("some/titles", "main", "title")
    for piece in pieces:
        assert piece in str(raised.value)
    assert "\n" not in str(raised.value) and not offline()


def answer_of_the_client(repository):
    return hub._ask_for_commit(repository, "main")()


def test_an_address_is_no_name_of_a_data_set(fake_hub):
    address = "https://huggingface.co/datasets/some/titles"
    fake_hub(answer_of_the_client(address), {"title": TITLES})
    with pytest.raises(BadValue) as raised:
        hub.read_hub_titles(address, "main", "title")
    assert str(raised.value) == f"data.repository={address}: OWNER/NAME, as the hub calls it"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("token", "said"),
    [("hf_refused", "HF_TOKEN: the hub does not accept it (401)"), ("", "cannot be reached (HfHubHTTPError)")],
)
def test_a_token_is_named_where_it_is_refused_and_only_there(fake_hub, monkeypatch, tmp_path, token, said):
    stand_in = Hub()
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", stand_in.url)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.setenv("HF_TOKEN", token)
    try:
        answer = answer_of_the_client("some/titles")
    finally:
        stand_in.close()
    fake_hub(answer, OSError("offline"))
    with pytest.raises(UserError) as raised:
        hub.read_hub_titles("some/titles", "main", "title")
    assert said in str(raised.value) and "\n" not in str(raised.value)
    assert ("the environment or in .env" in str(raised.value)) is bool(token)
