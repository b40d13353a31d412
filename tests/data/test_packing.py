"""Packing gives what a loop over the titles gives: every token a target once, titles told apart, nothing shifted."""

import numpy as np
import pytest
from random_titles import EOS, PAD, encode, random_titles

from frontpage.data.encoded import encode_titles
from frontpage.data.loader import TitleLoader
from frontpage.data.packing import IGNORED, TitleBatch, as_batch, pack, stream
from frontpage.data.tokenizer.bytes import bytes as byte_tokenizer

BLOCKS = [1, 2, 5, 64]
FIELDS = ("inputs", "targets", "document_ids", "positions")


def naive_stream(titles, order):
    """(input, target, document, offset in the title) of every place of the stream."""
    places, previous = [], EOS
    for document, title in enumerate(order):
        for offset, token in enumerate(titles[title]):
            places.append((previous, token, document, offset))
            previous = token
    return places


def naive_windows(titles, order, block_size):
    """The stream cut into windows, filled up, the positions of each window slid until all are below the block size."""
    places = naive_stream(titles, order)
    while len(places) % block_size:
        places.append((PAD, IGNORED, len(order), 0))
    windows = []
    for start in range(0, len(places), block_size):
        window = [list(place) for place in places[start : start + block_size]]
        while max(place[3] for place in window) >= block_size:
            too_long = max(window, key=lambda place: place[3])[2]
            for place in window:
                place[3] -= place[2] == too_long
        windows.append(window)
    return windows


@pytest.fixture(params=[0, 1, 2])
def titles(request):
    """40 titles of up to 9 tokens, and among them one that is longer than any window."""
    titles = random_titles(40, 9, seed=request.param)
    long = random_titles(1, 150, seed=5 + request.param)[0]
    return [*titles[:20], [10_000 + token for token in long[:-1]] + [EOS], *titles[20:]]


def order_of(titles, seed):
    return np.random.default_rng(seed).permutation(len(titles))


def test_the_stream_is_what_a_loop_over_the_titles_gives(titles):
    order = order_of(titles, 3)
    fields = stream(encode(titles), order, EOS)
    assert list(zip(*(field.tolist() for field in fields), strict=True)) == naive_stream(titles, order)


@pytest.mark.parametrize("block_size", BLOCKS)
def test_windows_are_what_a_loop_over_the_titles_gives(titles, block_size):
    order = order_of(titles, 4)
    packed = pack(encode(titles), order, block_size, pad_id=PAD, eos_id=EOS)
    expected = np.array(naive_windows(titles, order, block_size))
    for index, name in enumerate(FIELDS):
        assert packed[index].tolist() == expected[:, :, index].tolist(), name


@pytest.mark.parametrize("block_size", BLOCKS)
def test_targets_are_the_inputs_shifted_by_one(titles, block_size):
    packed = pack(encode(titles), order_of(titles, 1), block_size, pad_id=PAD, eos_id=EOS)
    inputs, targets = packed.inputs.ravel(), packed.targets.ravel()
    real = int((targets != IGNORED).sum())
    assert real == sum(map(len, titles)) and (targets[real:] == IGNORED).all()
    assert inputs[0] == EOS
    assert (inputs[1:real] == targets[: real - 1]).all()


@pytest.mark.parametrize("block_size", BLOCKS)
def test_a_document_begins_with_the_eos_that_opens_it(titles, block_size):
    """The inclusive convention: the id counts the `<eos>` up to and with the token itself."""
    packed = pack(encode(titles), order_of(titles, 2), block_size, pad_id=PAD, eos_id=EOS)
    real = packed.targets.ravel() != IGNORED
    opened = np.cumsum(packed.inputs.ravel()[real] == EOS) - 1
    assert packed.document_ids.ravel()[real].tolist() == opened.tolist()
    assert (packed.document_ids.ravel()[~real] == len(titles)).all()


def test_the_example_of_the_specification_has_its_ids():
    """Tokens a b E c d E e: document ids 0 0 1 1 1 2 2."""
    a, b, c, d, e = 3, 4, 5, 6, 7
    encoded = encode([[a, b, EOS], [c, d, EOS], [e, EOS]])
    packed = pack(encoded, np.arange(3), 7, pad_id=PAD, eos_id=EOS, drop_tail=True)
    assert packed.inputs.tolist() == [[a, b, EOS, c, d, EOS, e]]
    assert packed.document_ids.tolist() == [[0, 0, 1, 1, 1, 2, 2]]
    assert packed.positions.tolist() == [[1, 2, 0, 1, 2, 0, 1]]


@pytest.mark.parametrize("drop_tail", [False, True])
@pytest.mark.parametrize("block_size", BLOCKS)
def test_positions_are_below_the_block_and_equal_the_offset_where_the_title_fits(titles, block_size, drop_tail):
    order = order_of(titles, 6)
    packed = pack(encode(titles), order, block_size, pad_id=PAD, eos_id=EOS, drop_tail=drop_tail)
    offsets = {token: offset for title in titles for offset, token in enumerate(title)}
    lengths = [len(titles[title]) for title in order]
    assert packed.positions.min() >= 0 and packed.positions.max() < block_size
    checked = 0
    for _, target, document, position in np.stack(packed, axis=-1).reshape(-1, 4).tolist():
        if target not in (IGNORED, EOS) and lengths[document] <= block_size:
            assert position == offsets[target]
            checked += 1
    assert checked > {1: -1, 2: 1, 5: 20, 64: 100}[block_size]


@pytest.mark.parametrize("block_size", [2, 5])
def test_positions_of_a_title_longer_than_the_window_still_count_up_by_one(titles, block_size):
    packed = pack(encode(titles), order_of(titles, 6), block_size, pad_id=PAD, eos_id=EOS)
    same = np.diff(packed.document_ids, axis=1) == 0
    same &= packed.targets[:, 1:] != IGNORED
    assert (np.diff(packed.positions, axis=1)[same] == 1).all()


@pytest.mark.parametrize("batch_size", [1, 3, 16])
@pytest.mark.parametrize("block_size", BLOCKS)
def test_every_training_token_is_a_target_exactly_once_an_epoch(titles, block_size, batch_size):
    loader = TitleLoader(encode(titles), block_size=block_size, batch_size=batch_size, seed=3, pad_id=PAD, eos_id=EOS)
    for _ in range(2):
        batches = list(loader)
        assert len(batches) == len(loader)
        assert all(len(batch.inputs) == batch_size for batch in batches[:-1])
        targets = [token for batch in batches for token in batch.targets.flatten().tolist()]
        real = [token for token in targets if token != IGNORED]
        assert sorted(real) == sorted(token for title in titles for token in title)
        assert targets[len(real) :] == [IGNORED] * (len(targets) - len(real))
        assert len(targets) - len(real) < block_size  # the last window is padded, no window is only padding


@pytest.mark.parametrize(("block_size", "batch_size"), [(1, 1), (2, 3), (5, 4), (16, 2)])
def test_drop_tail_gives_the_batches_of_the_original_exercise(titles, block_size, batch_size):
    """`x = ids[p : p + B * T]`, `y = ids[p + 1 : p + 1 + B * T]`, p from 0 in steps of B * T, in every epoch."""
    ids = [token for title in titles for token in title]
    size = batch_size * block_size
    expected = []
    for start in range(0, len(ids), size):
        x, y = ids[start : start + size], ids[start + 1 : start + 1 + size]
        if len(y) == size:
            cut = [slice(row * block_size, (row + 1) * block_size) for row in range(batch_size)]
            expected.append(([x[row] for row in cut], [y[row] for row in cut]))
    loader = TitleLoader(
        encode(titles),
        block_size=block_size,
        batch_size=batch_size,
        seed=3,
        pad_id=PAD,
        eos_id=EOS,
        repack=False,
        drop_tail=True,
    )
    assert len(expected) > 2 and len(loader) == len(expected)
    for _ in range(3):
        assert [(batch.inputs.tolist(), batch.targets.tolist()) for batch in loader] == expected


def test_drop_tail_of_a_stream_one_token_short_of_a_window_is_empty():
    encoded = encode([[3, 4, 5, 6, EOS]])
    order = np.arange(1)
    assert pack(encoded, order, 5, pad_id=PAD, eos_id=EOS, drop_tail=True).inputs.shape == (0, 5)
    assert pack(encoded, order, 4, pad_id=PAD, eos_id=EOS, drop_tail=True).inputs.shape == (1, 4)


def test_batches_are_int64_tensors_of_the_rows_asked_for(titles):
    packed = pack(encode(titles), order_of(titles, 0), 5, pad_id=PAD, eos_id=EOS)
    batch = as_batch(packed, slice(2, 4))
    assert isinstance(batch, TitleBatch)
    for field, array in zip(batch, packed, strict=True):
        assert str(field.dtype) == "torch.int64" and field.tolist() == array[2:4].tolist()


def test_encoded_titles_are_the_tokenizers_ids_closed_by_eos():
    tokenizer = byte_tokenizer([], 259)
    titles = ["one", "東京 <eos>", "b"]
    encoded = encode_titles(tokenizer, titles)
    assert len(encoded) == 3 and encoded.offsets[0] == 0
    for index, title in enumerate(titles):
        own = encoded.tokens[encoded.offsets[index] : encoded.offsets[index + 1]].tolist()
        assert own == [*tokenizer.encode(title), tokenizer.eos_id]
    assert encoded.lengths.tolist() == [len(tokenizer.encode(title)) + 1 for title in titles]
    assert len(encode_titles(tokenizer, [])) == 0
