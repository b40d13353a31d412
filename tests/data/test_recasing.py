"""Promises of titles in the other case: right by value, letters alone change, of (seed, epoch, title) alone."""

import itertools
import math

import numpy as np
import pytest
from epochs_of_titles import data_of, lists, titles_of
from nasty_titles import NASTY, random_strings

from frontpage.data.encoded import encode_titles
from frontpage.data.epoch_titles import SameTitles
from frontpage.data.packing import IGNORED
from frontpage.data.recased import RecasedTitles
from frontpage.data.recasing import Recasing, in_other_style, style
from frontpage.data.tokenizer.bpe import bpe

SENTENCES = [
    "Show HN: a tool to read logs on the command line",
    "My years at Google – what I learned about search",
    "Why Google killed its reader and what search lost",
    "Ask HN: how do you search your email?",
    "A new engine for iOS search with AI/ML tools",
]


@pytest.mark.parametrize(
    ("title", "other"),
    [
        ("My years at Google – what I learned about search", "My Years at Google – What I Learned About Search"),
        ("Ask HN: how do you search your email?", "Ask HN: How Do You Search Your Email?"),
        ("What Google Learned About Search", "What Google learned about search"),  # names stay large
        ("A Tool That Google's Search Killed", "A tool That Google's search killed"),  # what no sentence has stays
        ("Logs: Years With Search", "Logs: Years with search"),  # the first word of a part stays
        ("New iOS Engine for AI Search", "New iOS engine for AI search"),  # large letters inside stay
        ("The founder's search for logs", "The Founder's Search for Logs"),
        ("Engine", "Engine"),
        ("a tool", "a tool"),
        ("Search In logs, email Tools of Google search", "Search In Logs, Email Tools of Google Search"),
        ("Réunion: été à l'école des engines", "Réunion: Été À L'école Des Engines"),
        ("a.out and node.js and read-only file systems break", "a.out and Node.js and Read-only File Systems Break"),
    ],
)
def test_a_title_in_the_other_style(title, other):
    assert Recasing(SENTENCES)(title) == other


def test_letters_that_grow_stay_as_they_are():
    assert Recasing(SENTENCES)("the ﬁne print of ŉew logs search") == "the ﬁne Print of ŉew Logs Search"


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Why Birds Sing", "title"),
        ("Why birds sing", "sentence"),
        ("One Bird Sings some Songs Here", "title"),  # 4 of 5
        ("One Bird Sings some songs Here", None),  # 3 of 5
        ("One Bird Sings some songs here", "sentence"),  # 2 of 5
        ("One bird Sings", "sentence"),  # 1 of 2
        ("One Bird", None),  # one long word
        ("One Big Bad Wolf Is It", None),  # short words do not count
        ("", None),
    ],
)
def test_the_style_is_told_by_the_longer_words(title, expected):
    assert style(title) == expected


def test_a_word_is_made_small_only_where_sentences_write_it_small_more_often():
    small, large = "We like the apple trees here", "We like the Apple phones here"
    title = "What Apple Trees Like"
    assert Recasing([small, small, large])(title) == "What apple trees like"
    assert Recasing([small, large])(title) == "What Apple trees like"
    assert Recasing([small, small, *["What Apple Trees Like"] * 9])(title) == "What apple trees like"  # no sentences


@pytest.mark.parametrize("titles", [NASTY, random_strings(300, seed=5), SENTENCES], ids=["nasty", "random", "own"])
def test_only_the_case_of_letters_changes(titles):
    recase = Recasing(titles)
    for title in titles:
        got = recase(title)
        assert len(got) == len(title)
        assert all(a == b or a.lower() == b.lower() for a, b in zip(title, got, strict=True))


def test_a_title_stays_where_its_other_form_is_held_out():
    other = [*map(Recasing(SENTENCES), SENTENCES)]
    assert in_other_style(SENTENCES, []) == other
    assert in_other_style(SENTENCES, iter([other[1], SENTENCES[2]])) == [other[0], SENTENCES[1], *other[2:]]


@pytest.mark.slow
@pytest.mark.parametrize("large", [False, True])
def test_no_epoch_shows_a_validation_title_word_for_word(tmp_path, monkeypatch, large):
    monkeypatch.setattr("frontpage.data.large_file.LARGE", 0 if large else 2**20)
    titles = [f"{one} and {number}" for number in range(20) for one in SENTENCES]
    (tmp_path / "titles.txt").write_text("\n".join([*titles, *map(Recasing(titles), titles)]), encoding="utf-8")
    words = (f"data.path={tmp_path / 'titles.txt'}", "data.num_titles=null", "data.recase=1", "data.val_frac=0.3")
    data = data_of(tmp_path, *words)
    held_out, trained = {*data.validation_texts()}, data.training_texts()
    assert len(held_out) == 60 and {*map(Recasing(trained), trained)} & held_out
    shown = data.tokenizer.decode_batch(titles_of(data.changing.of(0)))
    assert not {*shown} & held_out and sum(map(str.__ne__, shown, trained)) > 20


@pytest.fixture(scope="module")
def both():
    titles = [
        f"{one} and {number} {other}" for number in range(40) for one, other in itertools.permutations(SENTENCES, 2)
    ]
    recased = [*map(Recasing(titles), titles)]
    assert all(map(str.__ne__, titles, recased))
    tokenizer = bpe(titles, 500)
    return tokenizer, titles, recased


def shown(both, shares, seed=1, some=slice(None)):
    tokenizer, *texts = both
    plain, other = (SameTitles(encode_titles(tokenizer, of[some])) for of in texts)
    return RecasedTitles(plain, other, both[1][some], shares, seed)


def texts_of(both, titles, epoch):
    return both[0].decode_batch(titles_of(titles.of(epoch)))


def test_an_epoch_shows_its_share_of_titles_in_the_other_case(both):
    _, titles, recased = both
    drawn = shown(both, [0.0, 1.0, 0.3])
    assert texts_of(both, drawn, 0) == titles and texts_of(both, drawn, 1) == recased
    several = []
    for epoch in (2, 3, 9):  # the last share holds for all epochs that follow
        found = texts_of(both, drawn, epoch)
        other = [got == there for got, there in zip(found, recased, strict=True)]
        assert all(got in pair for got, *pair in zip(found, titles, recased, strict=True))
        assert abs(np.mean(other) - 0.3) < 4 * math.sqrt(0.3 * 0.7 / len(titles))
        assert drawn.drawn(epoch).tolist() == other and drawn.tokens_of(epoch) == len(drawn.of(epoch).tokens)
        several.append(other)
    pairs = list(itertools.combinations(several, 2))
    for one, two in pairs:  # drawn apart in each epoch: both with 0.09
        together = np.mean(np.logical_and(one, two))
        assert abs(together - 0.09) < 4 * math.sqrt(0.09 * 0.91 / len(titles))


@pytest.mark.slow
def test_what_is_drawn_depends_on_seed_epoch_and_title_alone(both):
    whole, some = shown(both, [0.5]), shown(both, [0.5], some=slice(60, 20, -1))
    last, first = (texts_of(both, whole, epoch) for epoch in (3, 0))  # in any order
    assert texts_of(both, some, 0) == first[60:20:-1] and texts_of(both, some, 3) == last[60:20:-1]
    other = texts_of(both, shown(both, [0.5], seed=2), 0)
    assert 0.3 < np.mean([a == b for a, b in zip(first, other, strict=True)]) < 0.7


@pytest.mark.slow
@pytest.mark.parametrize("more", [(), ("data.subword_alpha=0.2",)], ids=["best tokens", "drawn tokens"])
def test_training_alone_sees_the_other_case(tmp_path, more):
    plain, recased = data_of(tmp_path), data_of(tmp_path, "data.recase=[0.9,0.0]", *more)
    for one, two in ((plain.train, recased.train), (plain.validation, recased.validation)):
        assert (one.tokens == two.tokens).all() and (one.offsets == two.offsets).all()
    assert plain.fingerprint == recased.fingerprint
    titles, other = plain.training_texts(), [*map(Recasing(plain.training_texts()), plain.training_texts())]
    first, second = (recased.tokenizer.decode_batch(titles_of(recased.changing.of(epoch))) for epoch in (0, 1))
    assert second == titles
    changed = [place for place in range(len(titles)) if titles[place] != other[place]]
    assert len(changed) > 20 and all(got in pair for got, *pair in zip(first, titles, other, strict=True))
    assert 0.7 < np.mean([first[place] == other[place] for place in changed]) < 1


def test_an_epoch_has_the_targets_that_are_counted_for_it_and_is_the_same_from_anywhere(tmp_path):
    data = data_of(tmp_path, "data.recase=0.5", "data.batch_size=1")
    loader = data.loader_of()
    for epoch, batches in enumerate([list(loader) for _ in range(3)]):
        sizes = loader.sizes_of(epoch)
        counted = [int((batch.targets != IGNORED).sum()) for batch in batches]
        assert counted == [sizes.targets_in(index) for index in range(sizes.batches)]
        assert sum(counted) == sizes.trained_targets == data.changing.tokens_of(epoch)
        late = data.loader_of()
        late.load_state_dict({"epoch": epoch, "batches_done": 5})
        assert lists(late) == lists(batches[5:])
