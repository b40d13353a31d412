"""The embedded corpus has as many distinct titles as were asked for, and a floor that its own grammar gives."""

import math
from functools import partial

import numpy as np
import pytest

from frontpage.command.errors import UserError
from frontpage.data.grammar.title_rules import title_grammar
from frontpage.data.synthetic import SyntheticTitles
from frontpage.data.tokenizer.bytes import bytes as byte_tokenizer
from frontpage.evaluation.floor import floor_of


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
    floor = floor_of(data)
    assert floor["floor/nats_per_char"] == pytest.approx(nats / sum(len(title) + 5 for title in titles), rel=1e-12)
    assert floor["floor/coverage"] == 1


def test_a_file_has_no_known_floor(corpus, tmp_path):
    (tmp_path / "titles.txt").write_text("".join(f"title {index}\n" for index in range(20)))
    data = corpus(path=str(tmp_path / "titles.txt"))
    assert floor_of(data) is None and len(data.selection.train) == 18


def test_more_titles_than_the_grammar_has_are_refused_before_any_is_drawn(tmp_path):
    most = SyntheticTitles.MOST_TITLES
    for key in ("num_titles", "max_titles"):
        with pytest.raises(UserError, match=f"data.{key}=99999999: the embedded grammar gives at most {most}"):
            SyntheticTitles(tokenizer=None, cache_dir=tmp_path, **{key: 99_999_999})
    SyntheticTitles(tokenizer=None, cache_dir=tmp_path, num_titles=99_999_999, max_titles=9)
    SyntheticTitles(tokenizer=None, cache_dir=tmp_path, num_titles=99_999_999, path="titles.csv")
    SyntheticTitles(tokenizer=None, cache_dir=tmp_path, num_titles=most)


@pytest.mark.slow
def test_the_most_titles_are_what_one_draw_in_fifty_repeated_allows():
    grammar, most = title_grammar(), SyntheticTitles.MOST_TITLES
    probability = np.exp([grammar.log_prob(title) for title in grammar.sample(400, seed=3)])
    # A title of probability p is among n draws with probability 1 - (1 - p)^n; the mean over draws of that over n p.
    share = {draws: np.mean(-np.expm1(-draws * probability) / (draws * probability)) for draws in (most, 2 * most)}
    assert 1.02 * share[most] > 1 > 1.02 * share[2 * most]
