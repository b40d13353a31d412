"""The five guards of the metrics: each catches one way in which a reported number could be wrong."""

import math

import pytest
import torch
from attentions import HEADS, REACH, WIDTH, last_row_sees
from tiny import TINY, options
from torch.nn.functional import scaled_dot_product_attention

from frontpage.attention.causal import CausalAttention
from frontpage.command.build import build
from frontpage.data.grammar.title_rules import title_grammar
from frontpage.data.scoring_rows import ScoringRows
from frontpage.evaluation.metrics import TitleScores, honest_metrics
from frontpage.evaluation.original import original_loss, packed_nats_per_char


class LeakingAttention(CausalAttention):
    """Causal but for one thing: every token also sees the next one."""

    def attend(self, q, k, v, *, x, document_ids, cache):
        time = q.shape[2]
        mask = torch.ones(time, time, dtype=torch.bool).tril(1)
        return scaled_dot_product_attention(q, k, v, attn_mask=mask)


@pytest.fixture
def built(config, tmp_path):
    """built(*overrides) gives (data, module) of a tiny run."""

    def make(*overrides):
        settings = config(*TINY, f"paths.cache_dir={tmp_path}/cache", *overrides)
        data = build(settings.data, "data")
        data.setup()
        torch.manual_seed(settings.seed)
        return data, build(settings.model, "model", vocab_size=data.vocab_size).eval()

    return make


def scores(data, module, **rows):
    """The honest metrics, outside any trainer."""
    loader = ScoringRows(
        data.validation, context=data.block_size, pad_id=data.tokenizer.pad_id, eos_id=data.tokenizer.eos_id, **rows
    )
    sums = TitleScores(len(data.validation))
    module._scores = sums
    with torch.no_grad():
        for index, batch in enumerate(loader):
            module.validation_step(batch, index)
    return honest_metrics(*sums.compute(), data.sizes)


def trained(data, module, steps, lr=1e-2):
    """Train in a bare loop: the guards must not depend on the trainer."""
    optimizer, loader = torch.optim.AdamW(module.parameters(), lr=lr), data.train_dataloader()
    module.train()
    done = 0
    while done < steps:
        for batch in loader:
            loss = module.training_step(batch, done)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            done += 1
            if done == steps:
                break
    return module.eval()


def floor_guard(data, module):
    """Standard errors by which a model lies above (or, negative, below) the floor, from per-title differences."""
    sums = module._scores
    nll, _ = sums.compute()
    floor = torch.tensor([-title_grammar().log_prob(title) for title in data.selection.validation])
    difference = nll - floor
    return float(difference.mean() / (difference.std() / math.sqrt(len(difference))))


# Guard 1, causality, is in test_attention.py and test_models.py, for every attention and architecture; that the layer
# which was asked for sees what it should (guard 5) in test_attention.py.


@pytest.mark.slow
def test_guard_2_a_trained_model_lies_above_the_floor_and_a_leaking_one_far_below(built, monkeypatch):
    settings = ("data.num_titles=1200", "data.block_size=64", "model.d_model=64", "model.n_layer=2", "model.dropout=0")
    monkeypatch.setattr("frontpage.recipe.language_module.LanguageModule.log", lambda *_, **__: None)
    data, honest = built(*settings)
    scores(data, trained(data, honest, 100))
    assert floor_guard(data, honest) > 3
    data, leaking = built(*settings)
    for block in leaking.net.blocks:
        block.attention.__class__ = LeakingAttention
    scores(data, trained(data, leaking, 300))
    assert floor_guard(data, leaking) < -3, "the guard must fire for a model that sees the next token"


@pytest.mark.slow
@pytest.mark.parametrize("mask", ["true", "false"])
def test_guard_3_the_number_does_not_depend_on_batches_or_packing(built, mask):
    data, module = built("data.block_size=96", f"model.document_mask={mask}", "model.positions=rotary")
    reference = scores(data, module)
    for rows in (1, 7, 64):
        for row_length in (None, 32, 128, 256):
            got = scores(data, module, batch_tokens=rows * (row_length or 96), row_length=row_length)
            for name, value in reference.items():
                assert got[name] == pytest.approx(value, rel=1e-6), (name, rows, row_length)


@pytest.mark.slow
def test_guard_3_titles_longer_than_the_block_are_scored_whole(built):
    data, module = built("data.block_size=8")
    assert int(data.validation.lengths.max()) > 8
    assert scores(data, module, batch_tokens=1)["val/loss"] == pytest.approx(scores(data, module)["val/loss"], rel=1e-6)


@pytest.mark.parametrize("init", ["normal", "uniform", "xavier", "kaiming"])
@pytest.mark.parametrize("std", [0.02, 0.05])
def test_guard_4_the_loss_at_initialisation_is_what_arithmetic_says(built, init, std):
    data, module = built(f"model.init={init}", f"model.init_std={std}", "model.d_model=128", "data.num_titles=400")
    s = float(module.net.head.weight.detach().std())
    expected = math.log(data.vocab_size) + module.net.head.in_features * s**2 / 2
    assert scores(data, module)["val/loss"] == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("name", options("model/attention"))
def test_guard_5_the_layer_that_was_asked_for_is_the_one_that_runs(config, name):
    """Of its class, and its outputs depend on as many tokens as its table says, in a net as the recipe builds it."""
    sizes = (f"model.n_head={HEADS}", f"model.d_model={WIDTH}", "data.block_size=64", "model.positions=learned")
    model = config(*TINY, f"model/attention={name}", *sizes).model
    torch.manual_seed(0)
    (block,) = build(model, "model", vocab_size=300).eval().net.blocks
    assert type(block.attention).__name__ == model.attention._target_.rsplit(".", 1)[1]
    reached = float(last_row_sees(block.attention, 64).sum()) / HEADS
    assert reached == REACH.get(name) or (name == "sparsek" and 16 <= reached < 32)  # which chooses by content


@pytest.mark.slow
@pytest.mark.parametrize(("block", "batch"), [(16, 2), (32, 4), (64, 1), (32, 3)])
@pytest.mark.parametrize("mask", [False, True])
def test_the_original_metric_is_the_originals_formula(built, block, batch, mask):
    data, module = built(f"data.block_size={block}", f"model.document_mask={str(mask).lower()}", "data.num_titles=400")
    ids = torch.from_numpy(data.validation.tokens.astype("int64"))
    span, total = block * batch + 1, 0.0
    for start in range(0, len(ids) - span + 1, span):
        piece = ids[start : start + span]
        x, y = piece[:-1].view(batch, block), piece[1:].view(batch, block)
        with torch.no_grad():
            if mask:
                logits = masked_logits(module.net, x, data.tokenizer.eos_id, ids, start, batch, block)
            else:
                logits = module.net(x)
        total += torch.nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="sum").item()
    characters = len("".join(title + "<eos>" for title in data.selection.validation))
    loss, coverage = original_loss(module, data.validation, data.sizes, block, batch)
    assert loss == pytest.approx(total / characters, rel=1e-6)
    assert coverage == len(ids) // span * (span - 1) / len(ids)
    packed = packed_nats_per_char(module, data.validation, data.sizes, block, 4096)
    assert loss / coverage == pytest.approx(packed, rel=0.02)


def masked_logits(net, x, eos_id, ids, start, batch, block):
    """Each title of each row on its own, one token after the other: slow and obviously right."""
    rows = []
    for row in range(batch):
        at = start + row * block
        pieces, begin = [], 0
        for end in [*(i for i in range(1, block) if x[row, i] == eos_id), block]:
            offset = 0
            if x[row, begin] != eos_id:  # the row begins inside a title: count from its opening <eos>
                before = (ids[: at + begin] == eos_id).nonzero()
                offset = at + begin - int(before[-1]) if len(before) else at + begin + 1
            positions = torch.arange(offset, offset + end - begin)
            positions = positions - max(int(positions[-1]) - (net.block_size - 1), 0)
            pieces.append(net(x[row : row + 1, begin:end], positions=positions))
            begin = end
        rows.append(torch.cat(pieces, dim=1))
    return torch.cat(rows)


def test_no_span_means_no_original_metric(built):
    data, module = built("data.block_size=64")
    assert original_loss(module, data.validation, data.sizes, 64, 10_000) == (None, 0.0)


def test_ignored_targets_are_not_scored(built):
    data, module = built()
    scored, there = [], 0
    for batch in data.val_dataloader():
        nats, titles = module.score(batch)
        assert nats.shape == titles.shape
        there += batch.targets.numel()
        scored += titles.tolist()
    assert there > len(scored), "the rows are filled up"
    assert torch.bincount(torch.tensor(scored)).tolist() == data.sizes.tokens.tolist()
