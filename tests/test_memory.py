"""Promises of the memory estimates: as much as autograd really keeps, for every architecture with every attention."""

import functools
import itertools
import json

import pytest
import torch
from hydra import compose, initialize_config_dir
from programs import run_script
from tiny import CONFIGS, TINY, options

from frontpage.build import build
from frontpage.fake_step import fake_step
from frontpage.losses import next_token_loss
from frontpage.memory import (
    estimate_training,
    explain_step,
    generation_bytes,
    largest_batch,
    optimizer_bytes,
    plain_loss,
)
from frontpage.models.gpt import GPT
from frontpage.peak_memory import peak_memory, start_counting

ROWS, TIME, VOCABULARY = 4, 64, 300
SMALL = ("data=synthetic", "data.block_size=64", "model.d_model=64", "model.n_layer=2", "model.n_head=4")
PRECISIONS = ("32-true", "bf16-mixed", "bf16-true")
COMBINATIONS = list(itertools.product(options("model"), options("model/attention")))


def module_of(*overrides):
    with initialize_config_dir(str(CONFIGS)):
        config = compose("train", overrides=["paths.run_dir=unused", *SMALL, *overrides])
    torch.manual_seed(0)
    return build(config.model, "model", vocab_size=VOCABULARY)


def batch():
    """Tokens of several documents a row, their ids, and positions inside them."""
    lengths = torch.tensor([20, 1, 33, 10])
    ids = torch.repeat_interleave(torch.arange(4), lengths).repeat(ROWS, 1)
    positions = torch.cat([torch.arange(length) for length in lengths]).repeat(ROWS, 1)
    return torch.randint(3, VOCABULARY, (ROWS, TIME)), ids, positions


def counted(net, precision):
    """Bytes that autograd keeps in a real step, weights and buffers left out."""
    half = {"bf16-mixed": torch.bfloat16}.get(precision)
    if precision == "bf16-true":
        net = net.to(torch.bfloat16)
    inside = {tensor.untyped_storage()._cdata for tensor in (*net.parameters(), *net.buffers())}
    kept = {}
    tokens, ids, positions = batch()
    inside.add(tokens.untyped_storage()._cdata)

    def keep(tensor):
        if tensor.untyped_storage()._cdata not in inside:
            kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        with torch.autocast("cpu", torch.bfloat16, enabled=half is not None):
            loss = next_token_loss(net.hidden(tokens, ids, positions), net.head.weight, tokens)
    assert loss.isfinite()
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize(("model", "attention"), COMBINATIONS, ids=lambda name: name)
def test_the_estimate_is_within_a_tenth_of_what_autograd_keeps(model, attention):
    module = module_of(f"model={model}", f"model/attention={attention}", "model.dropout=0.1")
    for precision in PRECISIONS:
        step = fake_step(module.net, next_token_loss, ROWS, TIME, precision=precision, document_mask=True)
        real = counted(module.net.train(), precision)
        assert sum(step.saved.values()) == pytest.approx(real, rel=0.1), precision


@pytest.mark.parametrize(("model", "attention"), COMBINATIONS, ids=lambda name: name)
def test_a_generating_models_caches_are_as_large_as_said(model, attention):
    net = module_of(f"model={model}", f"model/attention={attention}").net.eval()
    caches = net.new_cache()
    with torch.no_grad():
        for part in batch()[0].split([5, 1, 58], dim=1):
            net(part, cache=caches)
    tensors = [value for cache in caches for value in vars(cache).values() if torch.is_tensor(value)]
    held = sum(tensor.numel() * 4 for tensor in tensors if tensor.is_floating_point())
    weights = sum(weight.numel() * 4 for weight in net.parameters())
    assert generation_bytes(net, ROWS, TIME) == (weights, held)


def plain_gpt(**changes):
    """A GPT without dropout whose sizes have no factor in common with a constant of the formula."""
    sizes = {"vocab_size": 50, "block_size": 64, "d_model": 96, "n_layer": 3, "n_head": 4}
    torch.manual_seed(0)
    from frontpage.attention.causal import CausalAttention

    return GPT(**sizes, attention=CausalAttention, **changes)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("activation", ["gelu", "swiglu"])
def test_a_layer_keeps_what_the_closed_formula_says(activation, precision):
    """A = 2 r d + a [(n_in + 3 + o) d + m f] + 4 h + 16 bytes a token and layer, plus the casts under autocast.

    `r`, `a`: bytes of the residual stream and of activations; `n_in` 2 norm outputs; 3 for q, k, v in one buffer; `o`
    1, the attention's output, which the kernel lays out as the next layer reads it; `m` 2 for GELU, 4 for SwiGLU:
    gate, value, silu(gate) and the product.
    """
    net, d, h = plain_gpt(activation=activation, d_ff=96 * 4), 96, 4
    r = 2 if precision == "bf16-true" else 4
    a = 4 if precision == "32-true" else 2
    m = {"gelu": 2, "swiglu": 4}[activation]
    formula = 2 * r * d + a * ((2 + 3 + 1) * d + m * 4 * d) + 4 * h + 16
    steps = [
        fake_step(net, next_token_loss, rows, 64, precision=precision, document_mask=False).saved["block 1"]
        for rows in (4, 8)
    ]
    slope = (steps[1] - steps[0]) / (4 * 64)
    assert slope == pytest.approx(formula, rel=0.02)


def test_a_half_precision_copy_of_each_linear_weight_is_kept_under_autocast():
    net = plain_gpt()
    linear = sum(part.weight.numel() + part.bias.numel() for block in net.blocks for part in linears(block))
    for precision, bytes_a_weight in (("32-true", 0), ("bf16-mixed", 2), ("bf16-true", 0)):
        casts = explain_step(net, 2, 64, precision=precision).casts
        assert casts == pytest.approx(bytes_a_weight * linear, rel=0.01)


def linears(block):
    return [part for part in block.modules() if isinstance(part, torch.nn.Linear)]


def optimizer_factory(name, **options):
    factory = functools.partial(getattr(torch.optim, name), **options)
    return factory


@pytest.mark.parametrize(
    ("factory", "bytes_a_weight"),
    [
        (optimizer_factory("AdamW", lr=1.0), 8),
        (optimizer_factory("AdamW", lr=1.0, amsgrad=True), 12),
        (optimizer_factory("SGD", lr=1.0), 0),
        (optimizer_factory("SGD", lr=1.0, momentum=0.9), 4),
        (optimizer_factory("Adagrad", lr=1.0), 4),
        (optimizer_factory("RMSprop", lr=1.0), 4),
    ],
    ids=str,
)
def test_an_optimizers_state_is_counted_by_what_it_is(factory, bytes_a_weight):
    net = plain_gpt()
    weights = sum(weight.numel() for weight in net.parameters())
    assert optimizer_bytes(net, factory) == bytes_a_weight * weights
    assert optimizer_bytes(net, factory, "bf16-true") == bytes_a_weight * weights // 2


def test_the_total_is_the_sum_of_its_parts_and_no_weight_is_touched():
    net, factory = plain_gpt(), optimizer_factory("AdamW", lr=1.0)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    weights = sum(weight.numel() * 4 for weight in net.parameters())
    memory = estimate_training(net, factory, ROWS, 64)
    assert (memory.weights, memory.gradients, memory.optimizer) == (weights, weights, 2 * weights)
    assert memory.total >= memory.weights + memory.optimizer + memory.buffers + memory.step
    larger = estimate_training(net, factory, 2 * ROWS, 64)
    assert larger.step > memory.step and larger.weights == memory.weights
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert all(weight.grad is None for weight in net.parameters())


def test_a_model_on_the_meta_device_is_estimated_like_a_real_one():
    with torch.device("meta"):
        abstract = plain_gpt()
    factory = optimizer_factory("AdamW", lr=1.0)
    assert estimate_training(abstract, factory, 4, 64) == estimate_training(plain_gpt(), factory, 4, 64)


def test_activation_checkpointing_lowers_the_peak_and_keeps_the_inputs_of_blocks():
    factory = optimizer_factory("SGD", lr=1.0)
    peaks = [
        estimate_training(plain_gpt(activation_checkpointing=state), factory, 32, 64).step
        for state in ("none", "every_2", "full")
    ]
    assert peaks[0] > peaks[1] > peaks[2]
    for layer in explain_step(plain_gpt(), 32, 64).layers[:-1]:
        assert layer.checkpointed == 32 * 64 * 96 * 4 < layer.saved / 10


def test_the_chunked_loss_holds_a_fraction_of_the_plain_ones_logits():
    net = plain_gpt(tie_embeddings=True)
    net.head = torch.nn.Linear(96, 16_000, bias=False)
    step = explain_step(net, 32, 64)
    assert step.plain_loss == pytest.approx(32 * 64 * 16_000 * 12, rel=0.1)
    assert step.chunked_loss < step.plain_loss / 4


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


def test_the_measured_peak_is_the_rise_since_the_start():
    start_counting(torch.device("cpu"))
    held = torch.ones(32 * 2**20)  # 128 MiB
    assert 120 * 2**20 < peak_memory(torch.device("cpu")) < 400 * 2**20
    del held


def test_a_run_that_cannot_be_estimated_says_so(command, run_directories, monkeypatch):
    def refuse(*arguments, **options):
        raise RuntimeError("a layer looks at numbers")

    monkeypatch.setattr("frontpage.callbacks.record_run.estimate_training", refuse)
    outcome = command(*TINY, "trainer.max_steps=1")
    assert outcome.status == 0 and "no estimate" in outcome.stdout
    record = json.loads((run_directories()[0] / "run.json").read_text())
    assert record["estimated_memory_bytes"] is None and "a layer looks at numbers" in record["notices"][-1]


def test_a_run_says_its_estimate_beside_its_measured_peak(command, run_directories):
    outcome = command(*TINY, "trainer.max_steps=1")
    record = json.loads((run_directories()[0] / "run.json").read_text())
    assert record["estimated_memory_bytes"] > 4 * 4 * record["parameters"]
    estimated, measured = (record[f"{kind}_memory_bytes"] / 2**30 for kind in ("estimated", "peak"))
    assert f"estimated {estimated:.2f} GiB, measured peak {measured:.2f} GiB" in outcome.stdout


def test_the_script_prints_layers_totals_generation_and_what_fits(capfd, tmp_path):
    ended = run_script(capfd, "memory", "experiment=quickstart", "--fits", "8", "--json", tmp_path / "memory.json")
    assert ended.status == 0, ended.stderr
    result = json.loads((tmp_path / "memory.json").read_text())
    assert [layer["name"] for layer in result["layers"]] == [*(f"block {i}" for i in range(4)), "ends"]
    assert [row["attention"] for row in result["generation"]] == options("model/attention")
    totals = result["activation_checkpointing"]
    assert totals["none"]["total"] == result["training"]["total"] > totals["full"]["total"]
    assert result["fits"]["8"]["full"] > result["fits"]["8"]["none"] > 32
    for words in ("block 0", "total", "generation", "largest micro-batch"):
        assert words in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("experiment=quikstart",), ("experiment=quikstart", "did you mean 'quickstart'")),
        (("model.n_head=3",), ("n_head=3",)),
        (("--fits", "0"), ("--fits", "at least 0.1")),
        (("--fit", "8"), ("--fit",)),
    ],
)
def test_the_scripts_mistakes_are_said_in_one_line(capfd, arguments, words):
    ended = run_script(capfd, "memory", *arguments)
    assert ended.status == 2 and len(ended.stderr.splitlines()) <= 3
    assert all(word in ended.stderr for word in words), ended.stderr
