"""Every token of every title is scored once, with the context that is promised."""

import itertools
from collections import Counter

import pytest
import torch
from random_titles import EOS, PAD, encode, random_titles
from torch.nn import functional as F

from frontpage.data.packing import IGNORED
from frontpage.data.scoring_rows import ScoringRows, original_rows, original_tokens_scored, packed_rows
from frontpage.data.text_sizes import TextSizes
from frontpage.evaluation.original import original_loss, packed_nats_per_char

CONTEXTS, BUDGETS, ROW_LENGTHS = [1, 2, 7, 64], [1, 50, 5000], [None, 32, 128]
# Titles short and long against every context, in an order that is not that of their lengths.
TITLES = random_titles(40, 12, seed=1) + [[20_000 + i for i in range(150)] + [EOS]]
TITLES += [[30_000 + token for token in title[:-1]] + [EOS] for title in random_titles(20, 30, seed=2)]
ALL_PLACES = Counter((title, offset) for title, tokens in enumerate(TITLES) for offset in range(len(tokens)))


def make(titles=TITLES, **settings):
    return ScoringRows(encode(titles), pad_id=PAD, eos_id=EOS, **settings)


def scored_places(batch, titles=TITLES):
    """(title, offset, visible inputs, position) of each scored place, found from the tokens and ids alone."""
    documents = batch.document_ids
    for row, place in (batch.targets != IGNORED).nonzero().tolist():
        if documents is None:
            visible = batch.inputs[row, : place + 1].tolist()
        else:
            same = documents[row, : place + 1] == documents[row, place]
            visible = batch.inputs[row, : place + 1][same].tolist()
        tokens = titles[int(batch.titles[row, place])]
        offset = tokens.index(int(batch.targets[row, place]))  # no other token of a title occurs twice
        yield int(batch.titles[row, place]), offset, visible, int(batch.positions[row, place])


@pytest.mark.parametrize("row_length", ROW_LENGTHS)
@pytest.mark.parametrize("batch_tokens", BUDGETS)
@pytest.mark.parametrize("context", CONTEXTS)
def test_every_token_is_scored_once_by_whichever_process(context, batch_tokens, row_length):
    for world_size in (1, 2, 3):
        found = Counter(
            place[:2]
            for rank in range(world_size)
            for batch in make(
                context=context, batch_tokens=batch_tokens, row_length=row_length, rank=rank, world_size=world_size
            )
            for place in scored_places(batch)
        )
        assert found == ALL_PLACES


@pytest.mark.parametrize("row_length", ROW_LENGTHS)
@pytest.mark.parametrize("context", CONTEXTS)
def test_a_scored_token_sees_its_own_title_and_at_least_half_a_context_of_it(context, row_length):
    for batch in make(context=context, row_length=row_length):
        assert batch.positions.min() >= 0 and batch.positions.max() < context
        for title, offset, visible, position in scored_places(batch):
            before = [EOS, *TITLES[title]][: offset + 1]
            assert visible == before[len(before) - len(visible) :]  # its own title, nothing skipped
            assert min(len(before), max(context // 2, 1)) <= len(visible) <= context
            if len(TITLES[title]) <= context:
                assert visible == before
            assert position == len(visible) - 1


@pytest.mark.parametrize("row_length", ROW_LENGTHS)
@pytest.mark.parametrize("batch_tokens", BUDGETS)
def test_a_batch_stays_in_its_budget_unless_one_row_does_not(batch_tokens, row_length):
    batches = list(make(context=64, batch_tokens=batch_tokens, row_length=row_length))
    for batch in batches:
        rows, length = batch.inputs.shape
        assert rows * length <= batch_tokens or rows == 1
        assert row_length is None or length <= max(row_length, 64)
        assert all(field is None or field.shape == (rows, length) for field in batch)
    assert len(batches) == len(make(context=64, batch_tokens=batch_tokens, row_length=row_length))


def test_rows_that_hold_several_titles_hold_as_many_as_fit_in_order():
    (batch,) = make([[3, EOS], [4, EOS], [5, EOS], [6, 7, EOS]], context=8, row_length=5)
    assert batch.inputs.tolist() == [[EOS, 3, EOS, 4, PAD], [EOS, 5, EOS, 6, 7]]
    assert batch.targets.tolist() == [[3, EOS, 4, EOS, IGNORED], [5, EOS, 6, 7, EOS]]
    assert batch.document_ids.tolist() == [[0, 0, 1, 1, -1], [0, 0, 1, 1, 1]]
    assert batch.positions.tolist() == [[0, 1, 0, 1, 0], [0, 1, 0, 1, 2]]
    assert batch.titles.tolist() == [[0, 0, 1, 1, 0], [2, 2, 3, 3, 3]]


@pytest.mark.parametrize("row_length", ROW_LENGTHS)
def test_every_process_has_a_batch_however_few_titles_there_are(row_length):
    """Lightning refuses a process whose loader is empty while another's is not."""
    few = random_titles(2, 6, seed=3)
    found = Counter()
    for rank in range(5):
        rows = make(few, context=8, row_length=row_length, rank=rank, world_size=5)
        assert len(rows) >= 1
        found.update(place[:2] for batch in rows for place in scored_places(batch, few))
    assert found == Counter((title, offset) for title, tokens in enumerate(few) for offset in range(len(tokens)))


def test_processes_share_the_tokens_evenly():
    loads = [
        sum(int((batch.targets != IGNORED).sum()) for batch in make(context=64, rank=rank, world_size=3))
        for rank in range(3)
    ]
    assert max(loads) - min(loads) <= 64


@pytest.mark.parametrize(("block_size", "batch_size"), [(1, 1), (2, 3), (7, 4), (16, 2), (64, 8)])
def test_original_rows_are_the_spans_of_the_original_evaluation(block_size, batch_size):
    span, fitted = block_size * batch_size + 1, 0
    for seed, longest in itertools.product(range(6), (3, 9, 40)):
        titles = random_titles(1 + 7 * seed, longest, seed)
        ids = [token for title in titles for token in title]
        expected = []
        for start in range(0, len(ids) - span + 1, span):
            part = torch.tensor(ids[start : start + span])
            expected.append((part[:-1].view(batch_size, block_size), part[1:].view(batch_size, block_size)))
        found = list(original_rows(encode(titles), block_size, batch_size, eos_id=EOS))
        assert len(found) == len(expected)
        for batch, (inputs, targets) in zip(found, expected, strict=True):
            assert torch.equal(batch.inputs, inputs) and torch.equal(batch.targets, targets)
            assert batch.positions.max() < block_size
        assert original_tokens_scored(len(ids), block_size, batch_size) == len(expected) * (span - 1)
        fitted += bool(expected)
    assert fitted > 0


@pytest.mark.parametrize("tokens", [0, 1, 12, 13, 14, 25, 26, 27])
def test_the_originals_count_is_right_where_a_span_just_fits_or_does_not(tokens):
    assert original_tokens_scored(tokens, 4, 3) == len(range(0, tokens - 13 + 1, 13)) * 12


@pytest.mark.parametrize("batch_tokens", BUDGETS)
@pytest.mark.parametrize("block_size", [1, 5, 64])
def test_packed_rows_are_the_whole_stream_cut_into_rows(block_size, batch_tokens):
    batches = list(packed_rows(encode(TITLES), block_size, batch_tokens, pad_id=PAD, eos_id=EOS))
    assert all(len(batch.inputs) <= max(batch_tokens // block_size, 1) for batch in batches)
    ids = [token for title in TITLES for token in title]
    real = [batch.targets != IGNORED for batch in batches]
    assert torch.cat([batch.targets[kept] for batch, kept in zip(batches, real, strict=True)]).tolist() == ids
    inputs = torch.cat([batch.inputs[kept] for batch, kept in zip(batches, real, strict=True)]).tolist()
    assert inputs == [EOS, *ids[:-1]]


class TableModule:
    """A stand-in for the module: what the head reads is a table of the input and of its place in the row."""

    device = torch.device("cpu")

    def __init__(self, vocabulary, block_size):
        random = torch.Generator().manual_seed(0)
        self.table = torch.randn(vocabulary, 8, generator=random, dtype=torch.float64)
        self.places = torch.randn(block_size, 8, generator=random, dtype=torch.float64)
        self.net = torch.nn.Module()
        self.language_head = torch.nn.Linear(8, vocabulary, bias=False, dtype=torch.float64).requires_grad_(False)
        self.language_head.weight.normal_(generator=random)

    def hidden(self, batch):
        return self.inputs_only(batch.inputs)

    def inputs_only(self, inputs):
        return self.table[inputs] + self.places[: inputs.shape[1]]


def small_titles(count=30):
    """Titles of few kinds of tokens, and texts to be measured with them."""
    titles = [[3 + token % 17 for token in title[:-1]] + [EOS] for title in random_titles(count, 9, seed=4)]
    texts = ["x" * (3 * len(title)) for title in titles]
    return titles, TextSizes.of(texts, [len(title) for title in titles]), texts


@pytest.mark.parametrize(("block_size", "batch_size"), [(4, 3), (8, 4), (5, 7)])
def test_the_originals_loss_is_that_of_its_evaluate_function(block_size, batch_size):
    titles, sizes, texts = small_titles()
    module = TableModule(20, block_size)
    ids = torch.tensor([token for title in titles for token in title])
    span, losses, scored = block_size * batch_size + 1, 0.0, 0
    for start in range(0, len(ids) - span + 1, span):
        part = ids[start : start + span]
        inputs, targets = part[:-1].view(batch_size, block_size), part[1:].view(batch_size, block_size)
        logits = module.language_head(module.inputs_only(inputs))
        losses += F.cross_entropy(logits.view(-1, 20), targets.reshape(-1), reduction="sum").item()
        scored += span - 1
    val_text = "<eos>".join(texts) + "<eos>"
    loss, coverage = original_loss(module, encode(titles), sizes, block_size, batch_size)
    assert scored > 0
    assert loss == pytest.approx(losses / len(val_text), rel=1e-12)
    assert coverage == scored / len(ids)


def test_the_originals_loss_is_null_where_no_span_fits():
    titles, sizes, _ = small_titles(3)
    assert original_loss(TableModule(20, 64), encode(titles), sizes, 64, 64) == (None, 0.0)


@pytest.mark.parametrize("batch_tokens", [1, 30, 5000])
def test_the_packed_metric_is_the_whole_stream_over_the_same_characters(batch_tokens):
    titles, sizes, texts = small_titles()
    module = TableModule(20, 6)
    ids = [token for title in titles for token in title]
    stream, total = [EOS, *ids], 0.0
    for start in range(0, len(ids), 6):
        row = torch.tensor(stream[start : min(start + 6, len(ids))])
        targets = torch.tensor(ids[start : start + 6])
        log_probs = module.language_head(module.inputs_only(row[None]))[0].log_softmax(-1)
        total -= sum(float(log_probs[place, target]) for place, target in enumerate(targets))
    found = packed_nats_per_char(module, encode(titles), sizes, 6, batch_tokens)
    assert found == pytest.approx(total / sum(len(text) + 5 for text in texts), rel=1e-12)
