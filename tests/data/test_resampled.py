"""Promises of subword regularisation: right by value, lossless, of (seed, epoch, title) alone, in training alone."""

import itertools
import math
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from epochs_of_titles import data_of, lists, titles_of
from nasty_titles import NASTY, random_strings
from tiny import composed

from frontpage.command.build import build
from frontpage.command.errors import UserError
from frontpage.data.encoded import encode_titles
from frontpage.data.grammar.title_rules import title_grammar
from frontpage.data.packing import IGNORED
from frontpage.data.resampled import ResampledTitles
from frontpage.data.tokenizer.bpe import bpe
from frontpage.data.tokenizer.bytes import bytes as byte_tokens
from frontpage.data.tokenizer.lattice import BITS, Lattices
from frontpage.data.tokenizer.unigram import unigram

TITLES = title_grammar().sample(150, seed=1)
PIECES = {piece: (token, -0.3 * token - 0.1) for token, piece in enumerate(["a", "ab", "b", "ba", "c", "aba", "bc"])}


def segmentations(word, pieces):
    """Every way to write a word in pieces, as tokens, with its log probability: by trying all cuts."""
    for cuts in itertools.product([False, True], repeat=len(word) - 1):
        ends = [place + 1 for place, cut in enumerate(cuts) if cut] + [len(word)]
        parts = [word[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        if all(part in pieces for part in parts):
            yield tuple(pieces[part][0] for part in parts), sum(pieces[part][1] for part in parts)


def probabilities(words, pieces, alpha):
    """Of each way to write some words one after another, P^alpha over the sum of all ways."""
    found = {(): 1.0}
    for word in words:
        weights = {tokens: math.exp(alpha * score) for tokens, score in segmentations(word, pieces)}
        total = sum(weights.values())
        found = {one + two: p * q / total for one, p in found.items() for two, q in weights.items()}
    return found


@pytest.fixture(scope="module")
def tokenizer():
    return unigram(TITLES, 450)


@pytest.mark.parametrize("alpha", [0, 0.2, 1, 3])
def test_a_way_to_write_a_word_is_as_likely_as_enumeration_says(alpha):
    words = ["abab", "c", "abcba", "b"]
    lattices, draws = Lattices(words, PIECES, alpha), np.arange(0, 2**BITS, 2 ** (BITS - 12))
    for number, word in enumerate(words):
        ways = {0: {(): 1.0}}  # by letters written
        for size in range(1, len(word) + 1):
            places = np.full(len(draws), lattices.first[number] + size - 1)
            drawn = Counter(zip(*map(np.ndarray.tolist, lattices.draw(places, draws)), strict=True))
            ways[size] = {}
            for (token, letters), count in drawn.items():
                for before, share in ways[size - letters].items():
                    ways[size][(*before, token)] = share * count / len(draws)
        expected = probabilities([word], PIECES, alpha)
        assert lattices.last[number] == lattices.first[number] + len(word) - 1
        assert {way: pytest.approx(p, abs=2e-3) for way, p in expected.items()} == ways[len(word)]


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0, 0.3])
def test_the_tokens_of_a_title_over_many_epochs_have_the_probabilities_of_enumeration(tokenizer, alpha):
    title, epochs = "Is attention", 3000
    resampled = ResampledTitles(tokenizer, [title], alpha, seed=7)
    drawn = Counter(tuple(titles_of(resampled.of(epoch))[0]) for epoch in range(epochs))
    expected = probabilities(tokenizer.words(title), tokenizer.pieces(), alpha)
    assert len(expected) > 50 and drawn.keys() <= expected.keys()
    for way, p in expected.items():
        assert abs(drawn[way] - epochs * p) <= 4 * math.sqrt(epochs * p) + 4, (way, p)
    often = {way: epochs * p for way, p in expected.items() if epochs * p >= 5}
    squares = sum((drawn[way] - count) ** 2 / count for way, count in often.items())  # chi-square
    assert len(often) > 20 and abs(squares - len(often)) < 4 * math.sqrt(2 * len(often))


@pytest.mark.parametrize("alpha", [0, 0.2, 1])
def test_every_title_comes_back_exactly_whatever_is_drawn(tokenizer, alpha):
    titles = [*TITLES, *NASTY, *random_strings(200, seed=3)]
    resampled = ResampledTitles(tokenizer, titles, alpha, seed=1)
    for epoch in range(3):
        encoded = resampled.of(epoch)
        assert tokenizer.decode_batch(titles_of(encoded)) == titles
        assert (encoded.tokens[encoded.offsets[1:] - 1] == tokenizer.eos_id).all()
        assert not {*tokenizer.never_written, tokenizer.eos_id} & {t for title in titles_of(encoded) for t in title}
        assert resampled.tokens_of(epoch) == len(encoded.tokens) == encoded.offsets[-1]


def test_a_large_alpha_gives_the_best_tokens(tokenizer):
    scores = {token: score for token, score in tokenizer.pieces().values()}
    sharp, best = ResampledTitles(tokenizer, TITLES, 100, seed=1).of(0), encode_titles(tokenizer, TITLES)
    same = 0
    for drawn, right in zip(titles_of(sharp), titles_of(best), strict=True):
        assert sum(map(scores.get, drawn)) == pytest.approx(sum(map(scores.get, right)), abs=0.2)
        same += drawn == right
    assert same > 0.9 * len(TITLES) and sharp.tokens.dtype == best.tokens.dtype


def test_what_is_drawn_depends_on_seed_epoch_and_title_alone(tokenizer):
    whole = ResampledTitles(tokenizer, TITLES, 0.2, seed=1)
    last, first = whole.of(3), whole.of(0)  # in any order
    some = ResampledTitles(tokenizer, TITLES[40:20:-1], 0.2, seed=1)
    assert titles_of(some.of(0)) == titles_of(first)[40:20:-1] and titles_of(some.of(3)) == titles_of(last)[40:20:-1]
    others = [titles_of(last), titles_of(ResampledTitles(tokenizer, TITLES, 0.2, seed=2).of(0))]
    for other in others:
        assert np.mean([one == two for one, two in zip(titles_of(first), other, strict=True)]) < 0.2


def test_words_that_occur_twice_are_drawn_apart(tokenizer):
    (title,) = titles_of(ResampledTitles(tokenizer, [" ".join(["engineering"] * 40)], 0.1, seed=1).of(0))
    starts = [place for place, token in enumerate(title) if tokenizer.spelled(token).startswith(b" ")]
    assert len({tuple(title[a:b]) for a, b in itertools.pairwise(starts)}) > 10


@pytest.mark.parametrize("make", [bpe, byte_tokens])
def test_a_tokenizer_without_probabilities_is_refused(make):
    with pytest.raises(ValueError, match="unigram"):
        ResampledTitles(make(TITLES, 300), TITLES, 0.2, seed=1)


def test_another_tokenizer_is_refused_before_the_titles_are_read(tmp_path):
    overrides = ("data.path=no_such_file.txt", "data.subword_alpha=0.2", "tokenizer=bpe")
    data = build(composed(*overrides, f"paths.cache_dir={tmp_path}").data, "data")
    with pytest.raises(UserError, match="data.subword_alpha=0.2: null, or tokenizer=unigram"):
        data.read()


@pytest.mark.slow
def test_training_alone_sees_other_tokens(tmp_path):
    plain, drawn = (
        data_of(tmp_path),
        data_of(tmp_path, "tokenizer=unigram", "data.subword_alpha=0.2"),
    )
    for one, two in ((plain.train, drawn.train), (plain.validation, drawn.validation)):
        assert (one.tokens == two.tokens).all() and (one.offsets == two.offsets).all()
    assert plain.fingerprint == drawn.fingerprint and plain.description() == drawn.description()
    plain.trainer = drawn.trainer = None
    for one, two in zip(plain.val_dataloader(), drawn.val_dataloader(), strict=True):
        assert (one.inputs == two.inputs).all() and (one.targets == two.targets).all()
    assert drawn.loader_of().sizes_of(0).tokens > plain.loader_of().sizes_of(0).tokens


@pytest.mark.slow
def test_an_epoch_has_the_targets_that_are_counted_for_it_and_is_the_same_from_anywhere(tmp_path):
    """Epochs have different numbers of tokens, batches and updates."""
    data = data_of(tmp_path, "data.subword_alpha=0.2", "data.batch_size=1")
    loader = data.loader_of()
    epochs = [list(loader) for _ in range(4)]
    assert len({len(batches) for batches in epochs}) > 1
    for epoch, batches in enumerate(epochs):
        sizes = loader.sizes_of(epoch)
        counted = [int((batch.targets != IGNORED).sum()) for batch in batches]
        assert counted == [sizes.targets_in(index) for index in range(sizes.batches)]
        assert sum(counted) == sizes.trained_targets == data.changing.tokens_of(epoch)
        titles = data.tokenizer.decode_batch(titles_of(data.changing.of(epoch)))
        assert titles == data.training_texts()
        late = data.loader_of()
        late.load_state_dict({"epoch": epoch, "batches_done": 7})
        assert len(late) == len(batches) and lists(late) == lists(batches[7:])
        assert late.state_dict() == {"epoch": epoch + 1, "batches_done": 0}


def test_batches_that_are_trained_on_again_and_again_keep_their_tokens(tmp_path):
    data = data_of(tmp_path, "data.subword_alpha=0.2")
    trainer = SimpleNamespace(
        accumulate_grad_batches=1, overfit_batches=2, limit_train_batches=2, global_rank=0, world_size=1
    )
    loader = data.loader_of(trainer)
    assert loader.run_sizes.alike == 0 and lists(loader) == lists(loader)


def test_titles_that_keep_their_order_have_other_tokens_in_each_epoch(tmp_path):
    data = data_of(tmp_path, "data.subword_alpha=0.2", "data.repack=false")
    loader = data.loader_of()
    for epoch in range(2):
        stream = [t for batch in loader for t in batch.targets.flatten().tolist() if t != IGNORED]
        assert stream == data.changing.of(epoch).tokens.tolist()
    assert data.changing.of(0).tokens.tolist() != stream
