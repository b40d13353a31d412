"""Promises of the memory estimates: as much as autograd really keeps, for every architecture with every attention."""

import copy
import functools
import itertools
import json
import warnings

import lightning as L
import pytest
import torch
from programs import run_script
from tiny import TINY, composed, options

from frontpage.attention.causal import CausalAttention
from frontpage.attention.kernels.pattern_paths import accelerate
from frontpage.command.build import build
from frontpage.evaluation.losses import language_loss, next_token_loss
from frontpage.machine.as_gpu import as_on_card
from frontpage.machine.peak_memory import peak_memory, start_counting
from frontpage.models.gpt import GPT
from frontpage.recipe.optimizer_memory import optimizer_bytes
from frontpage.training.memory import tables
from frontpage.training.memory.estimate import (
    TrainingMemory,
    estimate_training,
    explain_step,
    generation_bytes,
    largest_batch,
    plain_loss,
)
from frontpage.training.memory.fake_step import dtypes_of, fake_step

ROWS, TIME, VOCABULARY = 4, 64, 300
SMALL = ("data=synthetic", "data.block_size=64", "model.d_model=64", "model.n_layer=2", "model.n_head=4")
PRECISIONS = ("32-true", "bf16-mixed", "bf16-true")
ACCEPTED = "32 32-true 64 64-true 16 16-true 16-mixed bf16 bf16-true bf16-mixed".split()
COMBINATIONS = list(itertools.product(options("model"), options("model/attention")))
GPT_FAST = [pytest.param(*pair, marks=[pytest.mark.slow] * (pair[0] != "gpt")) for pair in COMBINATIONS]


def module_of(*overrides):  # with the default dropout, which autograd keeps masks of
    config = composed(*SMALL, *overrides)
    torch.manual_seed(0)
    return build(config.model, "model", vocab_size=VOCABULARY)


def batch():
    """Tokens of several documents a row, their ids, and positions inside them."""
    lengths = torch.tensor([20, 1, 33, 10])
    ids = torch.repeat_interleave(torch.arange(4), lengths).repeat(ROWS, 1)
    positions = torch.cat([torch.arange(length) for length in lengths]).repeat(ROWS, 1)
    return torch.randint(3, VOCABULARY, (ROWS, TIME)), ids, positions


@functools.cache
def lightnings(precision):
    """What Lightning makes of a precision on the CPU."""
    with warnings.catch_warnings(action="ignore"):  # bare 16 and bf16; fp16 as bf16
        return L.Trainer(precision=precision, accelerator="cpu", logger=False, barebones=True).precision_plugin


def counted(net, precision, inputs=None):
    """Bytes that autograd keeps in a real step of a copy, weights and buffers left out."""
    net = lightnings(precision).convert_module(copy.deepcopy(net).train())
    tokens, *context = batch() if inputs is None else inputs
    inside = {tensor.untyped_storage()._cdata for tensor in (*net.parameters(), *net.buffers(), tokens)}
    kept = {}

    def keep(tensor):
        if tensor.untyped_storage()._cdata not in inside:
            kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        with lightnings(precision).forward_context():
            loss = next_token_loss(net.hidden(tokens, *context), net.head.weight, tokens)
    assert loss.isfinite()
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize(("model", "attention"), GPT_FAST, ids=lambda name: name)
def test_the_estimate_is_within_a_tenth_of_what_autograd_keeps(model, attention):
    module = module_of(f"model={model}", f"model/attention={attention}")
    for precision in PRECISIONS:
        step = fake_step(module.net, language_loss, ROWS, TIME, precision=precision, document_mask=True)
        assert sum(step.saved.values()) == pytest.approx(counted(module.net, precision), rel=0.1), precision


@pytest.mark.parametrize("precision", ACCEPTED)
@pytest.mark.slow
def test_each_precision_that_lightning_takes_is_counted(precision):
    net = module_of("model=modern", "model/attention=local").net
    step = fake_step(net, language_loss, ROWS, TIME, precision=precision, document_mask=True)
    assert sum(step.saved.values()) == pytest.approx(counted(net, precision), rel=0.05)
    memory = estimate_training(net, functools.partial(torch.optim.AdamW, lr=1.0), ROWS, TIME, precision=precision)
    converted = lightnings(precision).convert_module(copy.deepcopy(net))
    weights, buffers = (
        sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        for tensors in (converted.parameters(), converted.buffers())
    )
    assert (memory.weights, memory.gradients, memory.optimizer) == (weights, weights, 2 * weights)
    assert memory.buffers == buffers
    state = converted.token_embedding.weight.element_size() * ROWS * TIME * 64
    assert explain_step(net, ROWS, TIME, precision=precision).layers[0].checkpointed == state


def test_a_precision_that_lightning_does_not_take_is_refused():
    for precision in ("8", "32-mixed", "64-mixed", "bf16-", "bf17", "transformer-engine"):
        with pytest.raises(ValueError, match=f"precision={precision}: one of"):
            dtypes_of(precision)


@pytest.mark.parametrize(
    "overrides",
    [
        ("model=gpt", "model/attention=causal"),
        ("model=gpt", "model/attention=local", "model.attention.backend=reshape"),
        ("model=modern", "model/attention=fixed", "model.attention.backend=reshape"),
        ("model=unet_gpt", "model/attention=strided", "model.attention.backend=reshape"),
        ("model=gpt", "model/attention=causal", "model.attention_dropout=0.1"),
        ("model=modern", "model/attention=sparsek", "model.attention_dropout=0.1"),
        ("model=unet_gpt", "model/attention=gated_delta", "model.attention_dropout=0.1"),
        ("model=gpt", "model/attention=local", "model.attention.backend=reshape", "model.attention_dropout=0.1"),
    ],
    ids=lambda overrides: "-".join(override.split("=")[1] for override in overrides),
)
@pytest.mark.slow
def test_long_rows_of_one_document_are_estimated_too(overrides):
    net = module_of("data.block_size=256", *overrides).net
    tokens = torch.randint(3, VOCABULARY, (ROWS, 256))
    for precision in ("32-true", "bf16-mixed"):
        step = fake_step(net, language_loss, ROWS, 256, precision=precision, document_mask=False)
        real = counted(net, precision, (tokens,))
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
    return accelerate(GPT(**sizes, attention=CausalAttention, **changes))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("activation", ["gelu", "swiglu"])
def test_a_layer_keeps_what_the_closed_formula_says(activation, precision):
    """A = 2 r d + a [(n_in + 3 + o) d + m f] + 4 h + 16 bytes a token and layer, plus the casts under autocast.

    So on a card; a CPU attends in fp32 and casts the result.

    `r`, `a`: bytes of the residual stream and of activations; `n_in` 2 norm outputs; 3 for q, k, v in one buffer; `o`
    1, the attention's output, which the kernel lays out as the next layer reads it; `m` 2 for GELU, 4 for SwiGLU:
    gate, value, silu(gate) and the product.
    """
    net, d, h = plain_gpt(activation=activation, d_ff=96 * 4), 96, 4
    r = 2 if precision == "bf16-true" else 4
    a = 4 if precision == "32-true" else 2
    m = {"gelu": 2, "swiglu": 4}[activation]
    formula = 2 * r * d + a * ((2 + 3 + 1) * d + m * 4 * d) + 4 * h + 16
    with as_on_card():
        assert slope(net, precision) == pytest.approx(formula, rel=0.02)
    wide = 0 if precision == "32-true" else (3 + 1) * (4 - 2) * d + 2 * d
    assert slope(net, precision) == pytest.approx(formula + wide, rel=0.02)


def slope(net, precision):
    """Bytes that a token more keeps of block 1."""
    few, more = (
        fake_step(net, language_loss, rows, 64, precision=precision, document_mask=False).saved["block 1"]
        for rows in (4, 8)
    )
    return (more - few) / (4 * 64)


def test_a_half_precision_copy_of_each_linear_weight_is_kept_under_autocast():
    net = plain_gpt()
    linear = sum(part.weight.numel() + part.bias.numel() for block in net.blocks for part in linears(block))
    for precision, bytes_a_weight in (("32-true", 0), ("bf16-mixed", 2), ("bf16-true", 0)):
        casts = explain_step(net, 2, 64, precision=precision).casts
        assert casts == pytest.approx(bytes_a_weight * linear, rel=0.01)


def linears(block):
    return [part for part in block.modules() if isinstance(part, torch.nn.Linear)]


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


def test_an_unfused_update_holds_all_weights_at_once_on_a_card_and_two_of_one_here():
    net = plain_gpt()
    sizes = [weight.numel() * 4 for weight in net.parameters()]
    here, card = (estimate_training(net, ADAMW, 1, 64, card=card) for card in (False, True))
    assert (here.update, card.update) == (2 * max(sizes), sum(sizes))
    assert card.total >= here.total and card._replace(update=0, total=0) == here._replace(update=0, total=0)
    assert estimate_training(net, functools.partial(ADAMW, fused=True), 1, 64, card=True).update == 0


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


def test_a_model_on_the_meta_device_is_estimated_like_a_real_one():
    with torch.device("meta"):
        abstract = plain_gpt()
    assert estimate_training(abstract, ADAMW, 4, 64) == estimate_training(plain_gpt(), ADAMW, 4, 64)


def test_activation_checkpointing_lowers_the_peak_and_keeps_the_inputs_of_blocks():
    states = ("none", "every_2", "full")
    unet = [module_of("model=unet_gpt", "model.n_layer=4", f"model.activation_checkpointing={s}").net for s in states]
    for nets in (unet, [plain_gpt(activation_checkpointing=state) for state in states]):
        peaks = [estimate_training(net, SGD, 32, 64).step for net in nets]
        assert peaks[0] > peaks[1] > peaks[2]
    for layer in explain_step(plain_gpt(), 32, 64).layers[:-1]:
        assert layer.checkpointed == 32 * 64 * 96 * 4 < layer.saved / 10


def test_explaining_a_step_leaves_the_nets_checkpointing_as_it_is(monkeypatch):
    net, seen = plain_gpt(activation_checkpointing="full"), []

    def watched(*arguments):
        seen.append(net.checkpoint_every)
        return language_loss(*arguments)

    monkeypatch.setattr("frontpage.training.memory.estimate.language_loss", watched)
    assert explain_step(net, 2, 64).layers == explain_step(plain_gpt(), 2, 64).layers
    assert set(seen) == {1}


def test_the_chunked_loss_holds_a_fraction_of_the_plain_ones_logits():
    net = plain_gpt(tie_embeddings=True)
    net.head = torch.nn.Linear(96, 16_000, bias=False)
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


def test_the_measured_peak_is_the_rise_since_the_start():
    start_counting(torch.device("cpu"))
    held = torch.ones(32 * 2**20)  # 128 MiB
    assert 120 * 2**20 < peak_memory(torch.device("cpu")) < 400 * 2**20
    del held


def test_a_run_that_cannot_be_estimated_says_so(command, run_directories, monkeypatch):
    def refuse(*arguments, **options):
        raise RuntimeError("a layer looks at numbers")

    monkeypatch.setattr("frontpage.training.plan.estimate_training", refuse)
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


@pytest.mark.slow
def test_the_script_prints_layers_totals_generation_and_what_fits(capfd, tmp_path):
    small = ("model.n_layer=1", "model.d_model=32", "data.block_size=32")
    path = tmp_path / "memory.json"
    ended = run_script(capfd, "memory", "experiment=quickstart", *small, "--fits", "0.65", "--json", path)
    assert ended.status == 0, ended.stderr
    result = json.loads(path.read_text())
    assert [layer["name"] for layer in result["layers"]] == ["block 0", "ends"]
    assert [row["attention"] for row in result["generation"]] == options("model/attention")
    assert not any("refused" in row for row in result["generation"])
    totals = result["activation_checkpointing"]
    assert totals["none"]["total"] == result["training"]["total"] > totals["full"]["total"]
    assert result["fits"]["0.65"]["full"] > result["fits"]["0.65"]["none"] > 32
    for words in ("block 0", "total", "generation", "largest micro-batch", "attention_dropout", "0.6 GiB", "7%"):
        assert words in ended.stdout


@pytest.mark.parametrize("experiment", options("experiment"))
@pytest.mark.slow
def test_generation_is_counted_for_every_attention_in_every_experiments_model(experiment):
    config = tables.composed([f"experiment={experiment}", "model.n_layer=2"])
    rows = tables.generation(config, [1])
    assert [row["attention"] for row in rows] == options("model/attention")
    assert {row["attention"]: row["refused"] for row in rows if "refused" in row} == {}


def test_generation_says_whose_sizes_do_not_fit_and_has_the_configs_own_knobs():
    sizes = ("model.n_layer=1", "model.n_head=6", "model.d_model=96", "model/attention=local")
    config = tables.composed([*sizes, "model.attention.window=5"])
    rows = {row["attention"]: row for row in tables.generation(config, [1])}
    assert "groups=4" in rows["fixed"]["refused"] and "refused" not in rows["causal"]
    assert rows["local"]["caches"] == {"1": generation_bytes(tables.on_meta(config).net, 1, 128)[1]}
    many = tables.generation(config, [1, 7], [4, 100])
    caches = {(row["attention"], row["length"]): row.get("caches") for row in many}
    token = 2 * 96 * 4  # bytes of its key and value
    assert caches["causal", 100]["7"] == 700 * token
    assert caches["local", 4] == caches["local", 100] == {"1": 4 * token, "7": 28 * token}  # a window of 5


def test_cards_are_sized_with_the_optimizers_temporaries_of_cuda(monkeypatch):

    def estimated(net, make_optimizer, batch_size, block_size, *, card, **options):
        assert card
        return TrainingMemory(0, 0, 0, 0, 0, 0, total=batch_size * (2 - net.checkpointed(0)) * 2**20)

    monkeypatch.setattr(tables, "estimate_training", estimated)
    found = tables.fits(tables.composed(["experiment=quickstart", "model.n_layer=1"]), 1.671)
    assert found == {"none": 512, "full": 1024}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("experiment=quikstart",), ("experiment=quikstart", "did you mean 'quickstart'")),
        (("model.n_head=3",), ("n_head=3",)),
        (("--fits", "0"), ("--fits", "at least 0.1")),
        (("experiment=quickstart", "--lengths", "16,4096"), ("--lengths 4096", "data.block_size=")),
        (("--fit", "8"), ("--fit",)),
        (("experiment=quickstart", "model.attention.backend=flex"), ("model.attention.backend=flex",)),
        (("model/attention=fixed", "model.attention.backend=reshape"), ("model.attention.backend=reshape",)),
        (
            ("model/attention=sparsek", "model.attention.backend=sdpa", "model.attention_dropout=0.1"),
            ("model.attention.backend=sdpa", "attention_dropout=0.1"),
        ),
    ],
)
def test_the_scripts_mistakes_are_said_in_one_line(capfd, arguments, words):
    ended = run_script(capfd, "memory", *arguments)
    assert ended.status == 2 and len(ended.stderr.splitlines()) <= 3
    assert all(word in ended.stderr for word in words), ended.stderr
