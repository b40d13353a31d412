"""Promises of every architecture with every attention: causal, titles apart, every weight learns, sizes as stated."""

import itertools
import math

import pytest
import torch
from hydra.utils import get_object
from nets import Modern
from omegaconf import OmegaConf
from tiny import CONFIGS, architectures, composed, options

from frontpage.attention.causal import CausalAttention
from frontpage.command.build import build
from frontpage.data.packing import TitleBatch
from frontpage.models.gpt import GPT
from frontpage.models.unet_gpt import UNetGPT

VOCABULARY, TIME = 50, 18
SMALL = ("data=synthetic", "data.block_size=64", "model.d_model=64", "model.n_layer=3", "model.n_head=4")
# Every attention in every architecture, with learned positions in the first and with rotary ones in the others.
COMBINATIONS = [
    (model, attention, "learned" if model == "gpt" else "rotary")
    for model, attention in itertools.product(architectures(), options("model/attention"))
]
COMBINATIONS += [("gpt", "causal", "rotary"), ("unet_gpt", "causal", "learned")]
CHANGES = [
    {"activation": "relu"},
    {"activation": "relu2"},
    {"activation": "swiglu", "bias": False},
    {"norm": "rms"},
    {"norm": "rms", "bias": False},
    {"norm_position": "post"},
    {"positions": "rotary"},
    {"positions": "rotary", "qk_norm": True, "n_kv_head": 2, "norm": "rms"},
    {"bias": False},
    {"tie_embeddings": False},
    {"init": "uniform"},
    {"init": "xavier"},
    {"init": "kaiming", "scaled_residual_init": False},
    {"d_ff": 40},
]
UNETS = [
    {},
    {"skips": False},
    {"n_layer": 5},
    {"n_layer": 1},
    {"widths": [32, 16, 24, 8]},  # no two layers at the same height are equally wide, nor the first and the last
    {"widths": [32, 16, 24, 8], "skips": False},
    {"widths": [16, 32, 16], "positions": "rotary", "norm_position": "post", "bias": False},
    {"widths": [16, 8], "d_ff": 40, "tie_embeddings": False},
]


@pytest.fixture(scope="module", params=COMBINATIONS, ids="-".join)
def module(request):
    """A tiny float64 module of one architecture with one attention, in evaluation mode."""
    model, attention, positions = request.param
    config = composed(*SMALL, f"model={model}", f"model/attention={attention}")
    config.model.positions = positions
    torch.manual_seed(0)
    module = build(config.model, "model", vocab_size=VOCABULARY).double().eval()
    chosen = get_object(OmegaConf.load(CONFIGS / "model" / "attention" / f"{attention}.yaml")._target_)
    assert [type(block.attention) for block in module.net.blocks] == [chosen] * 3  # and not the original's dense one
    fill_zeros(module.net)
    return module


def small(architecture=GPT, **changes):
    """A tiny net in float64."""
    torch.manual_seed(0)
    sizes = {"vocab_size": VOCABULARY, "block_size": 24, "d_model": 32, "n_layer": 2, "n_head": 4}
    net = architecture(**{**sizes, "attention": CausalAttention, "init_std": 0.2, **changes}).double()
    fill_zeros(net)
    return net


@torch.no_grad()
def fill_zeros(net):
    """Positions and biases start at zero, where nobody would see them misused."""
    for weight in net.parameters():
        if not weight.any():
            weight.normal_(std=0.2)


def tokens(rows, time, seed=1):
    return torch.randint(3, VOCABULARY, (rows, time), generator=torch.Generator().manual_seed(seed))


def assert_causal(net):
    """Changing a token changes no logit before it, and the logits at a place have no gradient towards later inputs."""
    x = tokens(2, TIME)
    with torch.no_grad():
        before = net(x)
        for place in range(TIME):
            changed = x.clone()
            changed[:, place] = 3 + (x[:, place] + 7) % (VOCABULARY - 3)
            after = net(changed)
            assert torch.equal(after[:, :place], before[:, :place])
            assert not torch.equal(after[:, place], before[:, place])
    (embedding,) = (part for part in net.modules() if isinstance(part, torch.nn.Embedding))
    kept = []
    hook = embedding.register_forward_hook(lambda part, given, result: kept.append(result))
    logits = net(x[:1])
    hook.remove()
    for place in range(TIME):
        (gradient,) = torch.autograd.grad(logits[0, place].square().sum(), kept[0], retain_graph=True)
        assert not gradient[0, place + 1 :].any() and gradient[0, place].any()


def test_the_whole_net_is_causal(module):
    assert_causal(module.net)


def packed_titles():
    """Two rows of titles as the loader would pack them, and where each title lies."""
    lengths = [[4, 1, 7, 6], [2, 9, 3, 4]]
    documents = torch.stack([torch.repeat_interleave(torch.arange(4), torch.tensor(row)) for row in lengths])
    positions = torch.stack([torch.cat([torch.arange(length) for length in row]) for row in lengths])
    inputs = tokens(2, TIME)
    inputs[positions == 0] = 1
    return TitleBatch(inputs, inputs, documents, positions)


@torch.no_grad()
def test_under_the_document_mask_a_titles_logits_do_not_depend_on_its_neighbours(module):
    batch = packed_titles()
    assert module.document_mask
    masked = module.net.head(module.hidden(batch))
    for row, document in itertools.product(range(2), range(4)):
        own = batch.document_ids[row] == document
        alone = module(batch.inputs[row : row + 1, own])[0]
        torch.testing.assert_close(masked[row, own], alone, rtol=0, atol=1e-12)


@torch.no_grad()
def test_without_the_document_mask_they_do(module):
    batch = packed_titles()
    masked = module.hidden(batch)
    module.document_mask = False
    try:
        joined = module.hidden(batch)
        renamed = module.hidden(batch._replace(document_ids=batch.document_ids * 0, positions=batch.positions * 0))
    finally:
        module.document_mask = True
    assert torch.equal(joined, renamed)  # ids and positions are not looked at
    second = batch.document_ids > 0
    assert (joined[second] - masked[second]).abs().max() > 1e-6


@torch.no_grad()
@pytest.mark.parametrize("chunks", [[1] * TIME, [5, 1, 8, 4]], ids=str)
def test_logits_through_a_cache_are_those_of_the_whole_row(module, chunks):
    x = tokens(2, TIME)
    cache = module.net.new_cache()
    parts = [module.net(part, cache=cache) for part in x.split(chunks, dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), module(x), rtol=0, atol=1e-10)


def assert_every_weight_learns(net, time):
    net.train()(tokens(2, time)).log_softmax(-1)[..., 5].sum().backward()
    for name, weight in net.named_parameters():
        assert weight.grad is not None and weight.grad.isfinite().all() and weight.grad.abs().sum() > 0, name


def test_every_weight_gets_a_finite_gradient(module):
    assert_every_weight_learns(module.net, TIME)
    module.net.zero_grad()
    module.eval()


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [
        *((GPT, changes) for changes in CHANGES),
        *((UNetGPT, {"n_layer": 4, **changes}) for changes in UNETS),
        *((Modern, changes) for changes in ({}, {"n_kv_head": None}, {"qk_norm": False})),
    ],
    ids=lambda part: getattr(part, "__name__", str(part)),
)
def test_every_option_builds_learns_and_is_causal(architecture, changes):
    net = small(architecture, **changes)
    # A bias of the keys shifts all scores of a query alike: its gradient is zero, but part of a larger bias.
    assert_every_weight_learns(net, TIME)
    assert_causal(net)


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_every_option_changes_the_net(changes):
    """An option that is accepted and then forgotten would go unseen."""
    same, other = small(), small(**changes)
    with torch.no_grad():
        assert not torch.equal(same(tokens(1, TIME)), other(tokens(1, TIME)))


@pytest.mark.parametrize("architecture", [GPT, UNetGPT, Modern])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_head": 5}, "n_head=5"),
        ({"n_kv_head": 3}, "n_kv_head=3"),
        ({"d_model": 0}, "d_model=0"),
        ({"n_layer": 0}, "n_layer=0"),
        ({"n_head": 0}, "n_head=0"),
        ({"block_size": -1}, "block_size=-1"),
        ({"d_ff": 0}, "d_ff=0"),
        ({"dropout": 1.5}, "dropout"),
        ({"attention_dropout": -0.1}, "attention_dropout=-0.1"),
        ({"activation_checkpointing": "half"}, "activation_checkpointing=half: none, full or every_k such as every_2"),
        ({"activation_checkpointing": "every_0"}, "activation_checkpointing=every_0: none, full or every_k"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_by_name(architecture, changes, message):
    with pytest.raises(ValueError, match=message):
        small(architecture, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation": "gellu"}, "activation=gellu: one of gelu relu relu2 swiglu"),
        ({"norm": "batch"}, "norm=batch: layer or rms"),
        ({"norm_position": "middle"}, "norm_position=middle: pre or post"),
        ({"positions": "sinus"}, "positions=sinus: learned or rotary"),
        ({"init": "zeros"}, "init=zeros: one of normal uniform xavier kaiming"),
    ],
)
def test_names_that_do_not_exist_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        small(**changes)


def test_the_originals_settings_have_the_originals_parameters():
    config = composed("experiment=mainrun_baseline")
    block = config.model.activation, config.model.norm, config.model.norm_position, config.model.positions
    assert block == ("gelu", "layer", "pre", "learned") and config.model.bias and config.model.tie_embeddings
    with torch.device("meta"):
        module = build(config.model, "model", vocab_size=16_000)
    assert sum(weight.numel() for weight in module.parameters()) == 27_172_864


def test_parameters_are_those_of_the_formula_and_a_tied_head_counts_once():
    c, layers, block = 32, 2, 24
    layer = 2 * 2 * c + (c * 3 * c + 3 * c) + (c * c + c) + (c * 4 * c + 4 * c) + (4 * c * c + c)
    tied = VOCABULARY * c + block * c + layers * layer + 2 * c
    for changes, expected in (
        ({}, tied),
        ({"tie_embeddings": False}, tied + VOCABULARY * c),
        ({"positions": "rotary"}, tied - block * c),
        ({"n_kv_head": 1}, tied - layers * 2 * (c * 3 * c // 4 + 3 * c // 4)),
    ):
        net = small(**changes)
        assert sum(weight.numel() for weight in net.parameters()) == expected, changes
        assert (net.head.weight is net.token_embedding.weight) == changes.get("tie_embeddings", True)


def test_a_token_beyond_the_block_is_refused():
    for changes in ({}, {"positions": "rotary"}):
        net = small(**changes)
        net(tokens(1, 24))
        with pytest.raises(IndexError):
            net(tokens(1, 25))


def test_dropout_acts_in_training_only():
    net, x = small(dropout=0.3), tokens(1, TIME)
    assert torch.equal(net.eval()(x), net(x)) and torch.equal(net(x), small().eval()(x))
    net.train()
    assert not torch.equal(net(x), net(x))


def test_layer_dropout_and_attention_dropout_go_where_they_are_named():
    net = small(dropout=0.3, attention_dropout=0.2)
    assert {block.attention.dropout for block in net.blocks} == {0.2}
    assert {part.p for part in net.modules() if isinstance(part, torch.nn.Dropout)} == {0.3}


def test_the_config_reaches_the_net():
    """What the YAML says is what is built: a key that is dropped on the way would go unseen."""
    settings = "activation=relu2 norm=rms norm_position=post positions=rotary qk_norm=true bias=false n_kv_head=2"
    config = composed(*SMALL, *(f"model.{setting}" for setting in settings.split()), "model.tie_embeddings=false")
    net = build(config.model, "model", vocab_size=VOCABULARY).net
    block = net.blocks[1]
    assert math.isclose(float(block.mlp.activation(torch.tensor(3.0))), 9.0)
    assert isinstance(block.mlp_norm, torch.nn.RMSNorm) and isinstance(net.final_norm, torch.nn.Identity)
    assert not block.pre and block.attention.rotary is not None and block.attention.query_norm is not None
    assert block.attention.n_kv_head == 2 and block.attention.qkv.bias is None
    assert net.position_table is None and net.head.weight is not net.token_embedding.weight


@pytest.mark.parametrize("debug", options("debug"))
@pytest.mark.parametrize("experiment", options("experiment"))
@pytest.mark.slow
def test_every_experiment_builds_under_every_debug_option(experiment, debug):
    config = composed(f"experiment={experiment}", f"debug={debug}")
    assert config.name == experiment and config.data.block_size == config.model.block_size == 64
    own = composed(f"experiment={experiment}").data._target_
    corpus = own if debug == "fast_parallel" else "frontpage.data.synthetic.SyntheticTitles"
    assert config.data._target_ == corpus and not config.logger
    with torch.device("meta"):
        module = build(config.model, "model", vocab_size=config.tokenizer.vocab_size)
    middle = 32 if experiment == "unet_gpt" else 64
    assert len(module.net.blocks) == config.model.n_layer == 3 and module.net.widths == [64, middle, 64]
