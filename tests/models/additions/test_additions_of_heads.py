"""What is added to heads, with every attention and architecture: the promises hold, or it is refused by name."""

import functools
import itertools
import re

import pytest
import torch
from attentions import attention_factory
from omegaconf import OmegaConf
from tiny import CONFIGS, composed, options

from frontpage.attention.parts.head_addition import HeadAddition
from frontpage.command.build import build
from frontpage.command.errors import UserError
from frontpage.machine.flops import training_flops_per_token
from frontpage.models.deep_narrow import DeepNarrow
from frontpage.models.gpt import GPT
from frontpage.models.unet_gpt import UNetGPT
from frontpage.recipe.optimizers.muon import Muon
from frontpage.recipe.parameter_groups import MATRICES, decay_groups
from frontpage.recipe.precision.int8_weight import Int8Weight

OF_HEADS = ["exclusive", "head_gate", "shifted_keys", "value_embeddings"]
SIZES = {"vocab_size": 50, "block_size": 64, "d_model": 64, "n_layer": 2, "n_head": 4, "n_kv_head": 2}
TIME = 44  # tokens: longer than every default window, so that caches forget
REFUSED = {
    *itertools.product(["mla"], OF_HEADS),
    *itertools.product(["differential", "gated", "gated_delta"], OF_HEADS[:1]),
}
PAIRS = list(itertools.product(options("model/attention"), OF_HEADS))
FITTING = [pair for pair in PAIRS if pair not in REFUSED]
factory_of = functools.cache(attention_factory)


def net_with(*names, attention="causal", architecture=GPT, stir=True, **changed):
    """In float64; `stir`: with other weights, so that what starts at zero has an effect."""
    nodes = {name: OmegaConf.load(CONFIGS / "model/addition" / f"{name}.yaml")[name] for name in names}
    share = {} if attention == "mla" else {"rotary_share": 0.5}
    settings = SIZES | {"positions": "rotary", "attention": factory_of(attention)} | share | changed
    torch.manual_seed(0)
    net = architecture(**settings, addition={name: build(node, name) for name, node in nodes.items()}).double().eval()
    torch.manual_seed(1)
    for weight in net.parameters() if stir else ():
        weight.data.add_(0.1 * torch.randn_like(weight))
    return net


def tokens(rows=2, time=TIME):
    return torch.randint(50, (rows, time), generator=torch.Generator().manual_seed(2))


def parts_of(net):
    return {
        index: {name: part for name, part in block.attention.additions.items() if isinstance(part, HeadAddition)}
        for index, block in enumerate(net.blocks)
    }


def check_promises(net):
    """Causal, documents apart, and a cache that gives the same and holds as much as is said."""
    given, later = tokens(), tokens()
    expected = net(given)
    later[:, 30:] = (later[:, 30:] + 1) % 50
    assert torch.allclose(net(later)[:, :30], expected[:, :30], atol=1e-9)
    assert not torch.allclose(net(later)[:, 30:], expected[:, 30:], atol=1e-3)
    ids, places = torch.arange(2).repeat_interleave(TIME)[None], torch.arange(TIME).repeat(2)[None]
    assert torch.allclose(net(given.reshape(1, -1)[:, : 2 * TIME], ids, places)[0, TIME:], expected[1], atol=1e-9)
    for steps in ([5, 35, 1, 3], [40, *[1] * (TIME - 40)]):
        cache = net.new_cache()
        found = torch.cat([net(part, cache=cache) for part in given.split(steps, dim=1)], dim=1)
        assert torch.allclose(found, expected, atol=1e-9)
        numbers = [value for one in cache for value in vars(one).values() if torch.is_tensor(value)]
        assert sum(one[0].numel() for one in numbers if one.is_floating_point()) == net.cache_numbers(TIME)


def test_the_list_has_every_option_that_adds_to_heads():
    every = options("model/addition")
    found = [
        name for name in every if any(isinstance(part, HeadAddition) for part in net_with(name, n_layer=3).modules())
    ]
    assert found == OF_HEADS, "OF_HEADS in this file, and a promise or a refusal for each attention"


@pytest.mark.parametrize(("attention", "name"), FITTING)
@torch.no_grad()
def test_it_keeps_the_promises_of_attentions(attention, name, monkeypatch):
    monkeypatch.setitem(SIZES, "block_size", 2 * TIME)  # two documents in a row
    net = net_with(name, attention=attention)
    assert not torch.allclose(net(tokens()), net_with(attention=attention)(tokens()), atol=1e-3)
    check_promises(net)


@pytest.mark.parametrize(("attention", "name"), sorted(REFUSED))
def test_where_heads_have_no_place_for_it_it_is_refused_by_name(attention, name):
    said = f"addition={name}: not with the heads of model/attention={attention}; docs/additions.md"
    with pytest.raises(ValueError, match=f"^{re.escape(said)}"):
        net_with(name, attention=attention)


@pytest.mark.parametrize("attention", [one for one in options("model/attention") if (one, "head_gate") in FITTING])
@torch.no_grad()
def test_all_of_them_together_in_mixed_precision_stay_near(attention):
    names = [name for name in OF_HEADS if (attention, name) in FITTING]
    net = net_with(*names, attention=attention).float()
    expected = net.hidden(tokens())
    with torch.autocast("cpu", torch.bfloat16):
        mixed = net.hidden(tokens())
    assert (mixed.float() - expected).norm() < 0.05 * expected.norm()
    assert net.to(torch.bfloat16).hidden(tokens()).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("architecture", "changed"),
    [
        (UNetGPT, {"widths": [64, 48, 32, 64]}),
        (DeepNarrow, {"norm": "deepnorm"}),
        (DeepNarrow, {"norm": "rmsnorm"}),
        (GPT, {"norm_position": "post", "bias": False, "qk_norm": True, "activation_checkpointing": "full"}),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else str(value),
)
def test_it_goes_with_every_architecture_and_leaves_its_weights_alone(architecture, changed, monkeypatch):
    monkeypatch.setitem(SIZES, "block_size", 2 * TIME)
    made = functools.partial(net_with, architecture=architecture, **changed)
    plain, added = (made(*names, stir=False).state_dict() for names in ([], OF_HEADS))
    assert all(torch.equal(weight, added[name]) for name, weight in plain.items())
    fresh = {name: weight for name, weight in added.items() if name not in plain}
    zero = {name for name, weight in fresh.items() if not weight.any()}
    assert zero == {name for name in fresh if name.endswith(("gates.linear.weight", "exclusive.alpha"))}
    for name in fresh.keys() - zero:
        assert fresh[name].std() == pytest.approx(0.02, rel=0.1), name
    with torch.no_grad():
        check_promises(made(*OF_HEADS))


def test_a_layer_narrower_than_its_gates_is_refused_under_their_key():
    config = composed(
        "model=unet_gpt", "model.widths=[64,24,64]", "model.n_head=4", "model/addition=[head_gate,value_embeddings]"
    )
    config.model.addition.value_embeddings.every = 1
    with pytest.raises(
        UserError, match=r"^model.addition.value_embeddings.gate_width=32: at most 24, the width of a la"
    ):
        build(config.model, "model", vocab_size=50)


@pytest.mark.parametrize(("every", "layers"), [(1, [0, 1, 2, 3, 4]), (2, [0, 2, 4]), (3, [1, 4]), (9, [4])])
@pytest.mark.parametrize("name", ["value_embeddings", "shifted_keys"])
def test_layers_are_counted_back_from_the_last_one(name, every, layers):
    node = OmegaConf.load(CONFIGS / "model/addition" / f"{name}.yaml")[name]
    sizes = SIZES | {"n_layer": 5, "positions": "rotary", "rotary_share": 0.5, "attention": factory_of("causal")}
    net = GPT(**sizes, addition={name: build(node, name, every=every)})
    assert [index for index, parts in parts_of(net).items() if name in parts] == layers


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"positions": "learned"}, "positions=learned: rotary with addition=shifted_keys"),
        ({"rotary_share": 1.0}, "rotary_share=1.0: below 1 with addition=shifted_keys"),
    ],
)
def test_keys_that_are_turned_in_whole_or_not_at_all_are_not_shifted(changed, said):
    with pytest.raises(ValueError, match=f"^{said}"):
        net_with("shifted_keys", **changed)


def test_mla_turns_numbers_of_its_own():
    with pytest.raises(ValueError, match="^rotary_share=0.5: 1 with model/attention=mla"):
        net_with(attention="mla", rotary_share=0.5)


def test_muon_takes_its_matrices_and_moves_gates_alike_for_every_head():
    net = net_with(*OF_HEADS, stir=False).float().train()
    groups = {group["name"]: group["params"] for group in decay_groups(net, 0.1)}
    names = {id(weight): name for name, weight in net.named_parameters() if "additions" in name}
    found = {key: {names[id(one)] for one in ones if id(one) in names} for key, ones in groups.items()}
    assert found["others"] == {f"blocks.{index}.attention.additions.exclusive.alpha" for index in range(2)}
    assert found[MATRICES] == {*names.values()} - found["others"] and len(found[MATRICES]) == 4
    optimizer = Muon(decay_groups(net, 0.1), lr=0.02)
    net(tokens()).logsumexp(-1).mean().backward()
    optimizer.step()
    for name in (name for name in found[MATRICES] if "gates" in name):
        moved = net.get_parameter(name).detach()
        expected = 0.02 * 0.2 * max(moved.shape) ** 0.5  # as match_rms_adamw has it: a row of length 1, times this
        assert torch.allclose(moved.norm(dim=-1), torch.tensor(expected), rtol=0.4), name


def test_weights_of_integers_are_tried_on_a_layer_with_all_of_them():
    pytest.importorskip("torchao")
    net = net_with(*OF_HEADS, stir=False, n_layer=1).float()  # its only layer has them all
    Int8Weight("int8_weight").check_net(net)


def test_its_weights_count_as_those_that_multiply():
    plain, added = net_with(), net_with(*OF_HEADS)
    fresh = 64 * 2 * 16 + 32 * 2 + 2 * (12 * 4 + 4)  # the last of two layers has a projection and gates for it
    more = training_flops_per_token(added, 64) - training_flops_per_token(plain, 64)
    assert more == 6 * fresh == 6 * sum(one.numel() for name, one in added.named_parameters() if "additions" in name)
