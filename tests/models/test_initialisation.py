"""The parts of a layer against their formulas, the initial weights, and which of them decay."""

import math
from functools import partial

import pytest
import torch
from nets import Modern
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from frontpage.attention.bottleneck import BottleneckAttention
from frontpage.attention.causal import CausalAttention
from frontpage.attention.kernels.pattern_paths import accelerate
from frontpage.attention.local import LocalAttention
from frontpage.machine.flops import training_flops_per_token
from frontpage.models.block import MLP, Block, default_d_ff
from frontpage.models.gpt import GPT
from frontpage.models.norms import make_norm
from frontpage.models.unet_gpt import UNetGPT
from frontpage.recipe.parameter_groups import decay_groups

WIDTH, LAYERS, VOCABULARY = 64, 8, 90


def gpt(**changes):
    torch.manual_seed(0)
    return accelerate(GPT(VOCABULARY, 16, WIDTH, changes.pop("n_layer", LAYERS), 4, CausalAttention, **changes))


def unet(**changes):
    torch.manual_seed(0)
    return UNetGPT(VOCABULARY, 16, 1, 1, 4, CausalAttention, widths=[128, 64, 128, 64], **changes)


def modern(**changes):
    torch.manual_seed(0)
    return Modern(VOCABULARY, 16, WIDTH, 3, 4, CausalAttention, **changes)


def writers(net):
    """What writes to the residual stream, by name."""
    return {name for name, _ in net.named_parameters() if name.endswith(("attention.out.weight", "mlp.down.weight"))}


@pytest.mark.parametrize("scheme", ["normal", "uniform", "xavier", "kaiming"])
def test_only_what_writes_to_the_residual_stream_is_scaled_by_its_depth(scheme):
    scaled, plain = gpt(init=scheme), gpt(init=scheme, scaled_residual_init=False)
    assert len(writers(plain)) == 2 * LAYERS
    weights = dict(plain.named_parameters())
    for name, weight in scaled.named_parameters():
        factor = math.sqrt(2 * LAYERS) if name in writers(scaled) else 1.0
        torch.testing.assert_close(weight * factor, weights[name], rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        ("normal", lambda fan_in, fan_out: 0.05),
        ("uniform", lambda fan_in, fan_out: 0.05),
        ("xavier", lambda fan_in, fan_out: math.sqrt(2 / (fan_in + fan_out))),
        ("kaiming", lambda fan_in, fan_out: math.sqrt(2 / fan_in)),
    ],
)
@torch.no_grad()
def test_linear_layers_have_the_deviation_of_their_scheme(scheme, expected):
    net = gpt(init=scheme, init_std=0.05, scaled_residual_init=False, tie_embeddings=False)
    for kind in ("attention.qkv", "attention.out", "mlp.up", "mlp.down"):
        layers = [block.get_submodule(kind) for block in net.blocks]
        weights = torch.stack([layer.weight for layer in layers])
        std = expected(layers[0].in_features, layers[0].out_features)
        assert float(weights.std()) == pytest.approx(std, rel=0.02), kind
        assert abs(float(weights.mean())) < 0.02 * std
        assert float(weights.abs().max()) / std < (1.74 if scheme == "uniform" else 6)
        assert not any(layer.bias.any() for layer in layers)
    assert float(net.token_embedding.weight.std()) == pytest.approx(0.05, rel=0.05)
    assert not net.position_table.any()


@torch.no_grad()
def test_a_tied_head_is_initialised_as_an_embedding():
    assert float(gpt(init="kaiming", init_std=0.05).head.weight.std()) == pytest.approx(0.05, rel=0.05)


@pytest.mark.parametrize("tied", [True, False])
def test_only_the_matrices_of_linear_layers_decay(tied):
    net = gpt(n_layer=2, tie_embeddings=tied)
    decayed, *head, others = decay_groups(net, 0.3)
    names = {id(weight): name for name, weight in net.named_parameters()}
    expected = {
        f"blocks.{layer}.{part}.weight"
        for layer in range(2)
        for part in ("attention.qkv", "attention.out", "mlp.up", "mlp.down")
    }
    assert [(group["name"], group["weight_decay"]) for group in head] == ([] if tied else [("head", 0.3)])
    assert [names[id(weight)] for group in head for weight in group["params"]] == ([] if tied else ["head.weight"])
    assert {names[id(weight)] for weight in decayed["params"]} == expected
    assert (decayed["name"], decayed["weight_decay"]) == ("matrices", 0.3)
    assert (others["name"], others["weight_decay"]) == ("others", 0.0)
    everything = [id(weight) for group in (decayed, *head, others) for weight in group["params"]]
    assert len(everything) == len(set(everything)) and set(everything) == set(names)


def test_decay_shrinks_matrices_and_leaves_the_rest_alone():
    net = gpt(n_layer=1)
    before = {name: weight.detach().clone() for name, weight in net.named_parameters()}
    optimizer = torch.optim.SGD(decay_groups(net, 0.5), lr=0.1)
    for weight in net.parameters():
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    for name, weight in net.named_parameters():
        matrix = weight.dim() == 2 and name.startswith("blocks")
        torch.testing.assert_close(weight.detach(), before[name] * (1 - 0.1 * 0.5 if matrix else 1), rtol=1e-6, atol=0)


FORMULAS = {
    "relu": lambda x: max(x, 0.0),
    "relu2": lambda x: max(x, 0.0) ** 2,
    "gelu": lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2))),
    "swiglu": lambda x: x / (1 + math.exp(-x)),
}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", FORMULAS)
def test_an_mlp_is_its_formula(activation, bias):
    torch.manual_seed(0)
    mlp = MLP(6, 10, activation, bias).double()
    x = torch.randn(2, 3, 6, dtype=torch.float64)
    first = x @ mlp.up.weight.T + (mlp.up.bias if bias else 0)
    gate, value = (first[..., :10], first[..., 10:]) if activation == "swiglu" else (first, None)
    bent = torch.tensor([FORMULAS[activation](number) for number in gate.flatten().tolist()], dtype=torch.float64)
    inner = bent.view_as(gate) * (1 if value is None else value)
    expected = inner @ mlp.down.weight.T + (mlp.down.bias if bias else 0)
    torch.testing.assert_close(mlp(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("d_model", [8, 24, 64, 100, 128, 512])
def test_the_default_mlp_has_four_widths_or_about_as_many_weights_with_a_gate(d_model):
    assert default_d_ff(d_model, "gelu") == 4 * d_model
    gated = default_d_ff(d_model, "swiglu")
    assert gated == min(width for width in range(8, 4 * d_model + 8, 8) if width >= 8 * d_model / 3)


def test_norms_are_their_formulas():
    torch.manual_seed(0)
    x = 3 + 2 * torch.randn(4, 10, dtype=torch.float64)
    layer, rms = make_norm("layer", 10).double(), make_norm("rms", 10).double()
    centred = x - x.mean(-1, keepdim=True)
    expected = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-12)
    expected = x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    torch.testing.assert_close(rms(x), expected, rtol=0, atol=1e-12)
    assert layer.bias is not None and make_norm("layer", 10, bias=False).bias is None
    with pytest.raises(ValueError, match="norm=rsm: layer or rms"):
        make_norm("rsm", 10)


@pytest.mark.parametrize("position", ["pre", "post"])
@torch.no_grad()
def test_a_block_normalises_before_or_after_the_sum(position):
    torch.manual_seed(0)
    attention, mlp = CausalAttention(8, 2, 16), MLP(8, 12)
    block = Block(attention, mlp, 8, norm_position=position).double()
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    norm = lambda y: F.layer_norm(y, (8,))  # noqa: E731  (both norms are still at one and zero)
    if position == "pre":
        middle = x + attention(norm(x))
        expected = middle + mlp(norm(middle))
    else:
        middle = norm(x + attention(x))
        expected = norm(middle + mlp(middle))
    torch.testing.assert_close(block(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("changes", [{}, {"tie_embeddings": False}, {"positions": "rotary", "n_kv_head": 2}])
def test_training_operations_are_three_times_the_counted_forward_products(changes):
    """PyTorch counts the matrix products; what the formula adds for norms and biases is taken off again."""
    net = gpt(n_layer=2, **changes)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.zeros(1, 16, dtype=torch.int64))
    counts = {str(operation): count for operation, count in counter.get_flop_counts()["Global"].items()}
    products = sum(count for operation, count in counts.items() if "mm" in operation)
    vectors = sum(weight.numel() for weight in net.parameters() if weight.dim() == 1)
    scores = 12 * 2 * WIDTH * (16 + 1) / 2  # q . k and weights . v: 2 x 2 x C a visible key, three times
    found = training_flops_per_token(net, 16) - 6 * vectors - scores
    assert found == pytest.approx(3 * products / 16, rel=1e-12)


def test_operations_of_attention_are_those_of_each_layers_own_width_and_pairs():
    def of_attention(net):
        return training_flops_per_token(net, 16) - 6 * sum(weight.numel() for weight in net.parameters())

    rotary = {"positions": "rotary", "attention": CausalAttention}
    wide = UNetGPT(VOCABULARY, 16, 1, 1, 4, widths=[64, 32, 48], **rotary)
    assert of_attention(wide) == 12 * (64 + 32 + 48) * 17 / 2
    assert of_attention(Modern(VOCABULARY, 16, 64, 3, 4, CausalAttention)) == 12 * 3 * 64 * 17 / 2
    narrow = GPT(VOCABULARY, 16, 64, 3, 4, partial(BottleneckAttention, d_inner=16), positions="rotary")
    assert of_attention(narrow) == 12 * 3 * 16 * 17 / 2
    near = GPT(VOCABULARY, 16, 64, 3, 4, partial(LocalAttention, window=4), positions="rotary")
    assert of_attention(near) == pytest.approx(12 * 3 * 64 * (1 + 2 + 3 + 13 * 4) / 16)


def test_linear_layers_and_embeddings_are_all_there_is():
    """Initialisation and decay look for these two kinds; another kind of matrix would escape both."""
    for net in (gpt(n_layer=1, positions="rotary"), unet(positions="rotary"), modern()):
        for part in net.modules():
            own = [weight for weight in part.parameters(recurse=False) if weight.dim() > 1]
            assert not own or isinstance(part, nn.Linear | nn.Embedding), type(part)


@torch.no_grad()
def test_what_joins_the_widths_of_a_unet_is_initialised_as_the_layers_are():
    for init, std in (("normal", 0.05), ("xavier", math.sqrt(2 / (64 + 128)))):
        net = unet(init=init, init_std=0.05)
        for matrix in (net.projections[1].weight, net.skip_projections[0].weight):
            assert {*matrix.shape} == {64, 128} and float(matrix.std()) == pytest.approx(std, rel=0.05)
        assert torch.equal(net.skip_gates, torch.ones(1))


@torch.no_grad()
def test_every_architecture_scales_what_writes_to_the_residual_stream_and_decays_matrices_only():
    for net, layers in ((unet(), 4), (modern(), 3)):
        for name in writers(net):
            assert float(net.get_parameter(name).std()) == pytest.approx(0.02 / math.sqrt(2 * layers), rel=0.05), name
        assert len(writers(net)) == 2 * layers
        decayed, others = decay_groups(net, 0.3)
        assert all(weight.dim() == 2 for weight in decayed["params"])
        assert {id(weight) for weight in others["params"] if weight.dim() > 1} <= {
            id(weight) for weight in (net.token_embedding.weight, net.position_table)
        }
        assert sum(weight.numel() for group in (decayed, others) for weight in group["params"]) == sum(
            weight.numel() for weight in net.parameters()
        )
