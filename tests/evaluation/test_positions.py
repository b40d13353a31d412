"""Promises of nats by position: each token in its own power of two, sums that are the headline's."""

import math

import numpy as np
import pytest
import torch
from epochs_of_titles import data_of
from nasty_titles import NASTY
from tiny import composed

from frontpage.command.build import build
from frontpage.data.encoded import EncodedTitles, encode_titles
from frontpage.data.text_sizes import EOS_CHARACTERS, TextSizes
from frontpage.evaluation import positions
from frontpage.evaluation.metrics import CoverageError, ratio_with_error
from frontpage.evaluation.positions import binned, nats_by_position, token_characters
from frontpage.evaluation.scored_titles import ScoredTitles

TITLES = ["ab", "naïve 日本 🚀", "a longer title, of more words", *NASTY]
TOKENIZERS = [("bpe", 400), ("unigram", 400), ("bytes", 259)]


def test_a_token_is_in_the_power_of_two_of_its_place():
    nats, characters = torch.arange(1.0, 13.0, dtype=torch.float64), torch.full((12,), 2)
    found = binned(nats, characters, [9, 3])
    assert [(one.first, one.end) for one in found] == [(0, 1), (1, 2), (2, 4), (4, 8), (8, 16)]
    assert [one.documents for one in found] == [2, 2, 2, 1, 1]
    assert [one.tokens for one in found] == [2, 2, 3, 4, 1]
    assert [one.nats for one in found] == [1 + 10, 2 + 11, 3 + 4 + 12, 5 + 6 + 7 + 8, 9]
    assert [one.characters for one in found] == [4, 4, 6, 8, 2]
    assert [one.nats_per_char for one in found] == [11 / 4, 13 / 4, 19 / 6, 26 / 8, 9 / 2]
    errors = [
        ratio_with_error(torch.tensor(nats).double(), torch.tensor(sizes).double())[1]
        for nats, sizes in (([1, 10], [2, 2]), ([2, 11], [2, 2]), ([7, 12], [4, 2]))
    ]
    assert [one.nats_per_char_se for one in found] == [*errors, None, None]
    assert errors[0] == pytest.approx(math.sqrt(2 * (4.5**2 + 4.5**2)) / 4)


def test_positions_of_two_thousand_tokens_and_more_have_rows_of_their_own():
    found = binned(torch.ones(5000), torch.ones(5000, dtype=torch.int64), [5000])
    assert [one.first for one in found] == [0, *(2**power for power in range(13))]
    assert [one.tokens for one in found] == [1, *(2**power for power in range(12)), 5000 - 4096]


def test_tokens_without_characters_have_no_nats_a_character():
    found = binned(torch.tensor([0.5, 1.0]), torch.tensor([0, 5]), [2])
    assert (found[0].nats, found[0].nats_per_char, found[0].nats_per_char_se) == (0.5, None, None)
    assert found[1].nats_per_char == 0.2


@pytest.mark.parametrize(("name", "size"), TOKENIZERS)
def test_the_characters_of_tokens_are_those_of_their_titles(name, size):
    config = composed(f"tokenizer={name}", *(() if name == "bytes" else (f"tokenizer.vocab_size={size}",)))
    tokenizer = build(config.tokenizer, "tokenizer")(TITLES)
    encoded = encode_titles(tokenizer, TITLES)
    found = token_characters(tokenizer, encoded)
    sums = [int(part.sum()) for part in torch.split(found, encoded.lengths.tolist())]
    assert sums == [len(title) + EOS_CHARACTERS for title in TITLES] and int(found.min()) == 0
    joined = EncodedTitles(encoded.tokens, encoded.offsets[[0, 2, len(TITLES)]])
    assert torch.equal(token_characters(tokenizer, joined), found)


@pytest.fixture(params=["none", "day"])
def scored(request, tmp_path):
    """(module, data) of a net that knows its place, whose documents are longer than its context of 32 tokens."""
    data = data_of(tmp_path, "data.num_titles=450", f"data.join={request.param}", "data.val_frac=0.5")
    small = ("data=synthetic", "data.block_size=32", "model.d_model=32", "model.n_layer=1", "model.n_head=2")
    torch.manual_seed(0)
    module = build(composed(*small).model, "model", vocab_size=data.vocab_size).eval()
    module.tokenizer = data.tokenizer
    return module, data


@pytest.mark.slow
def test_the_sums_are_those_of_the_headline_and_each_token_is_where_it_belongs(scored):
    module, data = scored
    settings = composed("data=synthetic", "data.block_size=32", "data.evaluation_tokens=400").data
    found = nats_by_position(module, data.validation, data.sizes, settings)
    documents = data.selection.validation_documents
    alone = ScoredTitles(module, data.selection.validation, settings, documents=documents)
    total, characters = sum(one.nats for one in found), sum(one.characters for one in found)
    assert characters == int(data.sizes.characters.sum())
    assert total / characters == pytest.approx(alone.metrics()["val/nats_per_char"], rel=1e-6)

    expected = {}  # token by token, in the context that it is scored in
    for start, end in zip(data.validation.offsets[:-1], data.validation.offsets[1:], strict=True):
        tokens = torch.from_numpy(data.validation.tokens[start:end].astype(np.int64))
        inputs = torch.cat([torch.tensor([module.tokenizer.eos_id]), tokens[:-1]])
        stop = 0
        while stop < len(tokens):
            begin, stop = stop, min(stop + (16 if stop else 32), len(tokens))
            window = inputs[max(stop - 32, 0) : stop]
            with torch.no_grad():
                shares = module.net(window[None])[0].double().log_softmax(-1)
            for place in range(begin, stop):
                nats = -float(shares[place - max(stop - 32, 0), tokens[place]])
                bin_of = 0 if place == 0 else int(math.log2(place)) + 1
                expected[bin_of] = expected.get(bin_of, 0.0) + nats
    assert [one.nats for one in found] == pytest.approx([expected[place] for place in sorted(expected)], rel=1e-5)


@pytest.mark.slow
def test_what_was_not_scored_once_is_no_number(scored, monkeypatch):
    module, data = scored
    settings = composed("data=synthetic", "data.block_size=32").data
    fewer = TextSizes(data.sizes.characters, data.sizes.bytes, data.sizes.tokens + 1)
    with pytest.raises(CoverageError, match="not scored exactly once"):
        nats_by_position(module, data.validation, fewer, settings)
    monkeypatch.setattr(positions, "EOS_CHARACTERS", 4)
    with pytest.raises(CoverageError, match="not as many characters"):
        nats_by_position(module, data.validation, data.sizes, settings)
