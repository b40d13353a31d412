"""Promises of the estimate of a run: the sum of its parts, what checkpointing and chunks save, and what fits."""

import functools
import json

import pytest
import torch
from estimated_nets import ROWS, module_of, plain_gpt
from tiny import TINY

from frontpage.evaluation.losses import language_loss, next_token_loss
from frontpage.models.language_head import LanguageHead
from frontpage.recipe.optimizer_memory import optimizer_bytes
from frontpage.training.memory.estimate import (
    TrainingMemory,
    estimate_training,
    explain_step,
    largest_batch,
    plain_loss,
)

ADAMW, SGD = functools.partial(torch.optim.AdamW, lr=1.0), functools.partial(torch.optim.SGD, lr=1.0)


@pytest.mark.parametrize(
    ("factory", "bytes_a_weight"),
    [
        (ADAMW, 8),
        (functools.partial(ADAMW, amsgrad=True), 12),
        (SGD, 0),
        (functools.partial(SGD, momentum=0.9), 4),
        (functools.partial(torch.optim.Adagrad, lr=1.0), 4),
        (functools.partial(torch.optim.RMSprop, lr=1.0), 4),
    ],
    ids=str,
)
def test_an_optimizers_state_is_counted_by_what_it_is(factory, bytes_a_weight):
    net = plain_gpt()
    weights = sum(weight.numel() for weight in net.parameters())
    assert optimizer_bytes(net, factory) == bytes_a_weight * weights
    assert optimizer_bytes(net, factory, torch.bfloat16) == bytes_a_weight * weights // 2


@pytest.mark.slow
def test_an_unfused_update_holds_all_weights_at_once_on_a_card_and_two_of_one_here():
    net = plain_gpt()
    sizes = [weight.numel() * 4 for weight in net.parameters()]
    here, card = (estimate_training(net, ADAMW, 1, 64, card=card) for card in (False, True))
    assert (here.update, card.update) == (2 * max(sizes), sum(sizes))
    assert card.total >= here.total and card._replace(update=0, total=0) == here._replace(update=0, total=0)
    assert estimate_training(net, functools.partial(ADAMW, fused=True), 1, 64, card=True).update == 0


@pytest.mark.slow
def test_the_total_is_the_sum_of_its_parts_and_no_weight_is_touched():
    net, factory = plain_gpt(), ADAMW
    before = {name: value.clone() for name, value in net.state_dict().items()}
    weights = sum(weight.numel() * 4 for weight in net.parameters())
    memory = estimate_training(net, factory, ROWS, 64)
    assert (memory.weights, memory.gradients, memory.optimizer) == (weights, weights, 2 * weights)
    assert memory.total >= memory.weights + memory.optimizer + memory.buffers + memory.step
    larger = estimate_training(net, factory, 2 * ROWS, 64)
    assert larger.step > memory.step and larger.weights == memory.weights
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert all(weight.grad is None for weight in net.parameters())


@pytest.mark.slow
def test_a_model_on_the_meta_device_is_estimated_like_a_real_one():
    with torch.device("meta"):
        abstract = plain_gpt()
    assert estimate_training(abstract, ADAMW, 4, 64) == estimate_training(plain_gpt(), ADAMW, 4, 64)


@pytest.mark.slow
def test_activation_checkpointing_lowers_the_peak_and_keeps_the_inputs_of_blocks():
    states = ("none", "every_2", "full")
    unet = [module_of("model=unet_gpt", "model.n_layer=4", f"model.activation_checkpointing={s}").net for s in states]
    for nets in (unet, [plain_gpt(activation_checkpointing=state) for state in states]):
        peaks = [estimate_training(net, SGD, 32, 64).step for net in nets]
        assert peaks[0] > peaks[1] > peaks[2]
    for layer in explain_step(plain_gpt(), 32, 64).layers[:-1]:
        assert layer.checkpointed == 32 * 64 * 96 * 4 < layer.saved / 10


@pytest.mark.slow
def test_explaining_a_step_leaves_the_nets_checkpointing_as_it_is(monkeypatch):
    net, seen = plain_gpt(activation_checkpointing="full"), []

    def watched(*arguments):
        seen.append(net.checkpoint_every)
        return language_loss(*arguments)

    monkeypatch.setattr("frontpage.training.memory.estimate.language_loss", watched)
    assert explain_step(net, 2, 64).layers == explain_step(plain_gpt(), 2, 64).layers
    assert set(seen) == {1}


@pytest.mark.slow
def test_the_chunked_loss_holds_a_fraction_of_the_plain_ones_logits():
    net = plain_gpt(tie_embeddings=True)
    net.head = LanguageHead(96, 16_000)
    step = explain_step(net, 32, 64)
    assert step.plain_loss == pytest.approx(32 * 64 * 16_000 * 12, rel=0.1)
    assert step.chunked_loss < step.plain_loss / 2  # 2,048 rows; a chunk has 524


def test_the_plain_loss_is_the_training_loss():
    torch.manual_seed(0)
    hidden, weight, targets = torch.randn(2, 9, 16), torch.randn(50, 16), torch.randint(0, 50, (2, 9))
    targets[0, 3] = -100
    torch.testing.assert_close(plain_loss(hidden, weight, targets), next_token_loss(hidden, weight, targets))


@pytest.mark.parametrize("limit", [10, 1036, 1037, 5000, 10**6, 10**9])
@pytest.mark.parametrize("step", [0, 5, 1000])
def test_the_largest_batch_fits_and_the_next_does_not(limit, step):
    asked = []

    def estimate(size):
        asked.append(size)
        return 1000 + 37 * size + size // 64 * step

    found = largest_batch(estimate, limit, most=100_000)
    assert len(asked) < 40
    assert found == 0 or estimate(found) <= limit
    assert found == 100_000 or estimate(found + 1) > limit


@pytest.mark.slow
def test_a_run_that_cannot_be_estimated_says_so(command, run_directories, monkeypatch):
    def refuse(*arguments, **options):
        raise RuntimeError("a layer looks at numbers")

    monkeypatch.setattr("frontpage.training.plan.estimate_training", refuse)
    outcome = command(*TINY, "trainer.max_steps=1")
    assert outcome.status == 0 and "no estimate" in outcome.stdout
    record = json.loads((run_directories()[0] / "run.json").read_text())
    assert record["estimated_memory_bytes"] is None and "a layer looks at numbers" in record["notices"][-1]


@pytest.mark.slow
def test_a_run_says_its_estimate_beside_its_measured_peak(command, run_directories):
    outcome = command(*TINY, "trainer.max_steps=1")
    record = json.loads((run_directories()[0] / "run.json").read_text())
    assert record["estimated_memory_bytes"] > 4 * 4 * record["parameters"]
    estimated, measured = (record[f"{kind}_memory_bytes"] / 2**30 for kind in ("estimated", "peak"))
    assert f"estimated {estimated:.2f} GiB, measured peak {measured:.2f} GiB" in outcome.stdout


def test_processes_that_share_the_weights_count_their_rows_and_what_they_gather():
    """By hand: 3 blocks of 100, 200 and 300 weights and 400 outside, of which 400 + 200 + 300 are there at once."""
    net = torch.nn.Module()
    net.blocks = torch.nn.ModuleList(torch.nn.Linear(10, rows, bias=False) for rows in (10, 20, 30))
    net.outside = torch.nn.Parameter(torch.zeros(400))
    memory = TrainingMemory(
        weights=4000, gradients=4000, optimizer=8000, buffers=7, step=9000, update=600, total=4000 + 7 + 8000 + 9000
    )
    found = memory.spread(2, net)
    assert found[:3] == (2000, 2000, 4000) and (found.buffers, found.update) == (7, 300)
    gathered = 3600 + 3600  # weights, and gradients of them
    assert found.total == 2000 + 7 + 4000 + (9000 - 4000 + 2000) + gathered
    assert memory.spread(1, net) == memory


def test_processes_that_share_a_net_by_rows_divide_what_is_kept_and_gather_two_blocks_and_the_ends():
    net = plain_gpt()  # three equal blocks
    memory = estimate_training(net, ADAMW, ROWS, 64)
    weights = sum(weight.numel() for weight in net.parameters())
    block = sum(weight.numel() for weight in net.blocks[0].parameters())
    gathered = weights - 3 * block + 2 * block
    four = memory.spread(4, net)
    assert (four.weights, four.gradients, four.optimizer) == (weights, weights, 2 * weights)  # 4, 4 and 8 bytes each
    assert (four.buffers, four.update) == (memory.buffers, memory.update // 4)
    activations = memory.total - 16 * weights  # are not shared
    by_hand = 4 * weights + activations + 2 * 4 * gathered
    assert abs(four.total - by_hand) <= 8
    assert abs(four.step - (memory.step - 4 * weights + 4 * gathered)) <= 8
    assert memory.spread(1, net) is memory


def test_processes_with_a_copy_each_keep_gradients_in_their_buckets_too():
    memory = estimate_training(net := plain_gpt(), ADAMW, ROWS, 64)
    weights = sum(weight.numel() for weight in net.parameters())
    assert memory.copied(2) == memory._replace(total=memory.total + 4 * weights) and memory.copied(1) is memory
