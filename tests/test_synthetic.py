"""The embedded corpus has as many distinct titles as were asked for, and a floor that its own grammar gives."""

import math
from functools import partial

import pytest

from frontpage.data.synthetic import SyntheticTitles
from frontpage.data.title_rules import title_grammar
from frontpage.tokenizer.bytes import bytes as byte_tokenizer


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    monkeypatch.setattr(SyntheticTitles, "DEFAULT_TITLES", 900)

    def made(**settings):
        data = SyntheticTitles(tokenizer=partial(byte_tokenizer, vocab_size=259), cache_dir=tmp_path, **settings)
        data.setup()
        return data

    return made


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({"num_titles": 700}, 700),
        ({"max_titles": 700}, 700),
        ({"num_titles": 700, "max_titles": 300}, 300),
        ({"num_titles": 300, "max_titles": 700}, 300),
        ({}, 900),
    ],
    ids=str,
)
def test_there_are_as_many_distinct_titles_as_asked_for(corpus, settings, count):
    chosen = corpus(**settings).selection
    assert len(chosen.train) + len(chosen.validation) == count
    assert len({*chosen.train, *chosen.validation}) == count
    assert len(chosen.train) == int(count * 0.9)


def test_the_floor_is_the_grammars_own_probability_of_the_validation_titles(corpus):
    data = corpus(num_titles=300)
    titles = data.selection.validation
    nats = -math.fsum(title_grammar().log_prob(title) for title in titles)
    floor = data.floor()
    assert floor["floor/nats_per_char"] == pytest.approx(nats / sum(len(title) + 5 for title in titles), rel=1e-12)
    assert floor["floor/coverage"] == 1


def test_a_file_has_no_known_floor(corpus, tmp_path):
    (tmp_path / "titles.txt").write_text("".join(f"title {index}\n" for index in range(20)))
    data = corpus(path=str(tmp_path / "titles.txt"))
    assert data.floor() is None and len(data.selection.train) == 18
