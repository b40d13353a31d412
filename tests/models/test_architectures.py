"""What an architecture is: widths, weights and values, against arithmetic and the equations written out."""

import itertools
import math
import re

import pytest
import torch
from nets import Modern
from tiny import options

from frontpage.analysis.smoke import DEBUG_OF
from frontpage.attention.causal import CausalAttention
from frontpage.attention.differential import DifferentialAttention
from frontpage.command.build import build
from frontpage.command.errors import UserError
from frontpage.command.notices import forget_notices, notices
from frontpage.models.gpt import GPT
from frontpage.models.unet_gpt import UNetGPT, u_shape
from frontpage.recipe.modules import UNetGPTModule
from frontpage.training.preflight import check_config

VOCABULARY, TIME = 50, 18
SMALL = ("model.d_model=64", "model.n_layer=3", "model.n_head=4")


def small(architecture, **changes):
    """A tiny net in float64, with no weight at zero."""
    torch.manual_seed(0)
    sizes = {"vocab_size": VOCABULARY, "block_size": 24, "d_model": 32, "n_layer": 2, "n_head": 4}
    net = architecture(**{**sizes, "attention": CausalAttention, "init_std": 0.2, **changes}).double()
    with torch.no_grad():
        for weight in net.parameters():
            if not weight.any():
                weight.normal_(std=0.2)
    return net


def tokens(rows, time):
    return torch.randint(3, VOCABULARY, (rows, time), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        ([], "widths=[]: one for each layer"),
        ([32, 18], "widths=[32, 18]: each must be a multiple of n_head=4"),
        ([32, 0, 32], "widths=[32, 0, 32]: each must be a multiple of n_head=4"),
        ([-4], "widths=[-4]: each must be a multiple of n_head=4"),
    ],
)
def test_a_list_of_widths_that_cannot_be_is_refused_by_name(widths, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        small(UNetGPT, widths=widths)


@pytest.mark.parametrize(
    ("architecture", "changes", "message"),
    [
        (UNetGPT, {"d_model": 30}, "d_model=30: must be a multiple of n_head=4"),
        (GPT, {"n_head": 32, "positions": "rotary"}, "positions=rotary: needs heads of an even width, not 1"),
        (Modern, {"attention": DifferentialAttention, "n_kv_head": 1}, "n_kv_head=1: must be even"),
        (GPT, {"attention": DifferentialAttention, "n_head": 1}, "n_head=1: must be even"),
        (Modern, {"init": "zeros"}, "init=zeros: one of"),
    ],
)
def test_a_refusal_names_the_key_that_is_wrong(architecture, changes, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        small(architecture, **changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"n_layer": 3, "widths": [32, 16]}, "widths=[32, 16] replaces n_layer=3: 2 layers, the first 32 wide"),
        ({"n_layer": 3, "widths": [64, 8]}, "widths=[64, 8] replaces d_model=32 and n_layer=3: 2 layers, the first 64"),
        ({"n_layer": 2, "widths": [16, 32]}, "widths=[16, 32] replaces d_model=32: 2 layers, the first 16 wide"),
        ({"n_layer": 3, "widths": [32, 16, 32]}, None),
        ({"n_layer": 3}, None),
    ],
    ids=str,
)
def test_a_notice_says_what_widths_replace(changes, said):
    forget_notices()
    recipe = {"optimizer": None, "scheduler": None}
    sizes = {"vocab_size": VOCABULARY, "block_size": TIME, "d_model": 32, "n_head": 4, "attention": CausalAttention}
    for _ in range(2):
        UNetGPTModule(**recipe, **sizes, **changes)
    assert len(notices()) == (said is not None) and all(one.startswith(said) for one in notices())


def test_parameters_of_a_unet_are_those_of_its_layers_and_of_what_joins_them():
    widths, block = [16, 32, 8, 24], 24
    layers = sum(12 * c * c + 13 * c for c in widths)  # as those of a GPT
    joins = 16 * 32 + 32 * 8 + 8 * 24 + 24 * 16  # and from the last layer to the embedding's width
    skips = 16 * 24 + 1  # from layer 0 to 3, and its gate; 1 and 2 follow each other
    plain = VOCABULARY * 16 + block * 16 + layers + joins + 2 * 16
    for skipping, expected in ((False, plain), (True, plain + skips)):
        net = small(UNetGPT, widths=widths, skips=skipping)
        assert sum(weight.numel() for weight in net.parameters()) == expected
        assert net.head.weight is net.token_embedding.weight and net.head.weight.shape == (VOCABULARY, 16)


@pytest.mark.parametrize(("heads", "d_ff"), [(2, None), (1, 40), (None, 100)])
def test_parameters_of_a_modern_net_are_those_of_the_formula(heads, d_ff):
    c, head, layers = 32, 8, 2
    mlp = 3 * c * (d_ff or 88)  # 88: the multiple of 8 next above 8/3 x 32
    layer = 2 * c + c * (4 + 2 * (heads or 4)) * head + 2 * head + c * c + mlp
    net = small(Modern, n_kv_head=heads, d_ff=d_ff)
    assert sum(weight.numel() for weight in net.parameters()) == VOCABULARY * c + layers * layer + c


@pytest.mark.parametrize(
    ("overrides", "widths"),
    [
        (["model=gpt"], [64, 64, 64]),
        (["model=modern"], [64, 64, 64]),
        (["model=unet_gpt"], [64, 32, 64]),
        (["model=unet_gpt", "model.widths=[16,32,8,64]"], [16, 32, 8, 64]),
        (["experiment=unet_gpt"], [512, 384, 256, 256, 384, 512]),
    ],
    ids=str,
)
def test_widths_reach_every_layer(config, overrides, widths):
    config = config(*([] if "experiment" in overrides[0] else SMALL), *overrides)
    with torch.device("meta"):
        net = build(config.model, "model", vocab_size=VOCABULARY).net
    assert net.widths == widths and len(net.blocks) == len(widths)
    for block, width in zip(net.blocks, widths, strict=True):
        parts = (block.attention.qkv, block.attention.out, block.mlp.up, block.mlp.down)
        sizes = [(part.in_features, part.out_features) for part in parts]
        heads = block.attention.n_head + 2 * block.attention.n_kv_head
        up = block.mlp.down.in_features * (2 if block.mlp.gated else 1)
        inner = width // block.attention.n_head * heads
        assert sizes == [(width, inner), (width, width), (width, up), (up // (1 + block.mlp.gated), width)]
        assert block.mlp.gated or up == 4 * width


def test_the_default_widths_are_a_u_that_heads_divide():
    assert u_shape(512, 6, 8) == [512, 384, 256, 256, 384, 512]
    assert u_shape(64, 7, 4) == [64, 56, 40, 32, 40, 56, 64]
    assert u_shape(64, 1, 4) == [64] and u_shape(64, 2, 4) == [64, 64]
    for d_model, layers, heads in itertools.product((32, 64, 512, 768), range(1, 13), (1, 2, 4, 8)):
        widths = u_shape(d_model, layers, heads)
        assert len(widths) == layers and widths == widths[::-1]
        assert widths[0] == d_model == max(widths) and min(widths) >= d_model // 2
        assert not any(width % (2 * heads) for width in widths)
        assert sorted(widths[: -(-layers // 2)], reverse=True) == widths[: -(-layers // 2)]


@torch.no_grad()
def test_a_skip_adds_what_a_layer_gave_to_the_layer_at_the_same_height():
    net, x = small(UNetGPT, widths=[16, 8, 8, 24, 16]), tokens(2, TIME)
    net.skip_gates.zero_()
    without = small(UNetGPT, widths=[16, 8, 8, 24, 16], skips=False)
    without.load_state_dict(net.state_dict(), strict=False)
    assert torch.equal(net(x), without(x))  # a gate at zero is no skip
    net.skip_gates.copy_(torch.tensor([1.0, 0.5]))
    positions = torch.arange(TIME)
    one = net.token_embedding(x) + net.position_table[:TIME]
    project, across = net.projections, net.skip_projections
    first = net.blocks[0](one, None, positions)
    second = net.blocks[1](project[1](first), None, positions)
    third = net.blocks[2](second, None, positions)
    fourth = net.blocks[3](project[3](third) + 0.5 * across[1](second), None, positions)
    fifth = net.blocks[4](project[4](fourth) + first, None, positions)
    torch.testing.assert_close(net(x), net.head(net.final_norm(fifth)), rtol=0, atol=1e-12)


@torch.no_grad()
def test_a_modern_net_computes_what_qwen3_computes():
    """Written out from its published matrices: q, k, v, o, gate, up and down, and RMSNorms."""
    net, x, heads, width = small(Modern), tokens(2, TIME), 4, 8

    def norm(y, weight):
        return y / (y.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight

    def turned(y):  # (B, H, T, D): the halves are the two coordinates of each turned pair
        angle = torch.outer(torch.arange(TIME), 10_000.0 ** -(torch.arange(0, width, 2) / width)).double()
        cosine, sine = angle.cos().repeat(1, 2), angle.sin().repeat(1, 2)
        return y * cosine + torch.cat((-y[..., width // 2 :], y[..., : width // 2]), dim=-1) * sine

    y = net.token_embedding.weight[x]
    for block in net.blocks:
        z, attention = norm(y, block.attention_norm.weight), block.attention
        parts = zip(attention.qkv.weight.split([32, 16, 16]), (heads, 2, 2), strict=True)
        q, k, v = ((z @ matrix.T).unflatten(-1, (many, width)).transpose(1, 2) for matrix, many in parts)
        q, k = turned(norm(q, attention.query_norm.weight)), turned(norm(k, attention.key_norm.weight))
        k, v = k.repeat_interleave(2, dim=1), v.repeat_interleave(2, dim=1)
        scores = (q @ k.transpose(-1, -2) / math.sqrt(width)).masked_fill(torch.ones(TIME, TIME).triu(1) > 0, -math.inf)
        y = y + (scores.softmax(-1) @ v).transpose(1, 2).flatten(2) @ attention.out.weight.T
        gate, up = (norm(y, block.mlp_norm.weight) @ block.mlp.up.weight.T).chunk(2, dim=-1)
        y = y + (gate * gate.sigmoid() * up) @ block.mlp.down.weight.T
    expected = norm(y, net.final_norm.weight) @ net.token_embedding.weight.T
    torch.testing.assert_close(net(x), expected, rtol=0, atol=1e-6)  # the rotary table is in single precision
    assert not [name for name, _ in net.named_parameters() if name.endswith("bias")]


@torch.no_grad()
def test_a_modern_net_takes_the_initialisation_that_it_is_given():
    plain, scaled = small(Modern, scaled_residual_init=False), small(Modern)
    torch.testing.assert_close(plain.blocks[1].mlp.down.weight, scaled.blocks[1].mlp.down.weight * 2)  # sqrt(2 x 2)
    assert small(Modern, init="uniform").blocks[0].mlp.up.weight.abs().max() < 0.2 * math.sqrt(3) + 1e-6


def check_combinations(config, experiment, places):
    """The attentions at `places` of their list in the experiment, each in the next architecture.

    What an experiment adds to its net may be refused there, by its name.
    """
    models, attentions = options("model"), options("model/attention")
    for place in places:
        model = models[(place + options("experiment").index(experiment)) % len(models)]
        attention = attentions[place % len(attentions)]
        small = f"debug={DEBUG_OF.get(experiment, 'fast')}"
        composed = config(f"experiment={experiment}", f"model={model}", f"model/attention={attention}", small)
        try:
            check_config(composed)
        except UserError as error:
            assert any(name in str(error) for name in composed.model.addition), error


@pytest.mark.slow
@pytest.mark.parametrize("place", range(len(options("experiment"))), ids=options("experiment"))
def test_every_experiment_goes_with_an_architecture_and_an_attention(config, place):
    check_combinations(config, options("experiment")[place], [place])


@pytest.mark.slow
@pytest.mark.parametrize("experiment", options("experiment"))
def test_every_two_of_experiment_architecture_and_attention_go_together(config, experiment):
    check_combinations(config, experiment, range(len(options("model/attention"))))


ATTENTIONS = {
    "sparse_gpt": {"block": 32, "summary": 8, "groups": 4, "d_inner": 64},
    "local_gpt": {"window": 32},
    "strided_gpt": {"stride": 16, "alternate": "head"},
    "bottleneck_gpt": {"d_inner": 64},
    "sparsek_gpt": {"k": 32, "window": 16, "epsilon": 1e-6, "gate": "straight_through"},
}


@pytest.mark.slow
@pytest.mark.parametrize("experiment", ATTENTIONS)
def test_an_experiment_has_its_own_knobs_and_another_attention_those_of_its_file(config, experiment):
    own = config(f"experiment={experiment}").model.attention
    assert {key: value for key, value in own.items() if not key.startswith("_")} == {
        "d_inner": None,
        "backend": "auto",
        **ATTENTIONS[experiment],
    }
    for other in ("causal", "sliding_window"):
        chosen = f"model/attention={other}"
        assert config(f"experiment={experiment}", chosen).model.attention == config(chosen).model.attention
        check_config(config(f"experiment={experiment}", chosen, "debug=fast"))


@pytest.mark.slow
def test_the_unet_experiment_has_no_skips_and_another_architecture_none_to_leave_out(config):
    assert config("experiment=unet_gpt").model.skips is False and config("model=unet_gpt").model.skips is True
    assert "skips" not in config("experiment=unet_gpt", "model=gpt").model
