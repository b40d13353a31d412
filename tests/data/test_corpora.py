"""Promises of every corpus of titles in configs/data/: named alike, reads a given file, splits it repeatably."""

import pytest
from hydra.utils import get_object
from tiny import composed, options

from frontpage.command.build import build
from frontpage.command.errors import BadValue
from frontpage.data.title_data import TitleData

TITLES = [f"A title of number {number}" for number in range(60)]


def is_of_titles(corpus):
    return issubclass(get_object(composed(f"data={corpus}").data._target_), TitleData)


@pytest.fixture(params=[name for name in options("data") if is_of_titles(name)])
def corpus(request):
    """The name of an option of configs/data/."""
    return request.param


def read(corpus, folder):
    """The corpus built from its config, with a file of titles in place of its own rows, read and split."""
    file = folder / "titles.txt"
    file.write_text("\n".join(TITLES), encoding="utf-8")
    config = composed(f"data={corpus}", f"data.path={file}", "data.num_titles=50", f"paths.cache_dir={folder}/cache")
    data = build(config.data, "data")
    data.read()
    return data


def test_a_corpus_is_named_alike_in_its_file_and_its_config(corpus):
    target = get_object(composed(f"data={corpus}").data._target_)
    assert target.__module__ == f"frontpage.data.{corpus}" and issubclass(target, TitleData)


def test_a_given_file_is_what_is_read_and_its_titles_are_apart(corpus, tmp_path):
    chosen = read(corpus, tmp_path).selection
    assert (len(chosen.train), len(chosen.validation)) == (45, 5)
    assert {*chosen.train} | {*chosen.validation} <= {*TITLES} and not {*chosen.train} & {*chosen.validation}


def test_the_same_seed_takes_the_same_titles(corpus, tmp_path):
    first, second = read(corpus, tmp_path).selection, read(corpus, tmp_path).selection
    assert (first.train, first.validation) == (second.train, second.validation)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["a title", 7], "row 2 of its source() is a int, not a str"),
        ([["a title", "its address"]], "row 1 of its source() is a list, not a str"),
        ("a title", "its source() gives a str, not a list of str"),
        (None, "its source() gives a NoneType, not a list of str"),
    ],
)
def test_a_corpus_whose_rows_are_no_texts_is_refused_by_the_name_of_its_class(rows, said, monkeypatch, tmp_path):
    data = build(composed("data=synthetic", f"paths.cache_dir={tmp_path}").data, "data")
    monkeypatch.setattr(data, "source", lambda: rows)
    with pytest.raises(BadValue) as refused:
        data.read()
    assert str(refused.value) == f"data._target_=frontpage.data.synthetic.SyntheticTitles: {said}"
