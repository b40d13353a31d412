"""What every option of configs/model/addition promises, alone and all of them together."""

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from frontpage.attention.causal import CausalAttention
from frontpage.command.build import build
from frontpage.command.config_folder import CONFIGS
from frontpage.models.gpt import GPT

NAMES = sorted(path.stem for path in Path(CONFIGS, "model/addition").glob("*.yaml"))
SIZES = {"vocab_size": 50, "block_size": 16, "d_model": 32, "n_layer": 6, "n_head": 4, "positions": "rotary"}


def additions(*names: str) -> dict:
    nodes = OmegaConf.merge(*(OmegaConf.load(Path(CONFIGS, "model/addition", f"{name}.yaml")) for name in names))
    return {name: build(node, f"model.addition.{name}") for name, node in nodes.items()}


def net_with(*names: str, **changed: object) -> GPT:
    torch.manual_seed(0)
    settings = SIZES | {"attention": CausalAttention} | changed
    return GPT(**settings, addition=additions(*names) if names else None).double().eval()


def stirred(net: GPT) -> GPT:
    """With other weights, so that what starts at zero has an effect."""
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return net


def documents(lengths: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.cat([torch.full((length,), number) for number, length in enumerate(lengths)])[None]
    return ids, torch.cat([torch.arange(length) for length in lengths])[None]


@pytest.fixture(params=[*NAMES, "all of them"])
def names(request: pytest.FixtureRequest) -> list[str]:
    return NAMES if request.param == "all of them" else [request.param]


def test_the_net_starts_from_the_same_weights(names):
    plain, added = net_with().state_dict(), net_with(*names).state_dict()
    assert plain.keys() <= added.keys()
    assert all(torch.equal(value, added[key]) for key, value in plain.items())


def test_building_it_draws_no_random_number_of_training(names):
    net_with()
    expected = torch.rand(4)
    net_with(*names)
    assert torch.equal(torch.rand(4), expected)


def test_no_token_sees_a_later_one(names):
    net, tokens = stirred(net_with(*names)), torch.randint(50, (2, 12))
    later = tokens.clone()
    later[:, 7:] = (later[:, 7:] + 1) % 50
    assert torch.allclose(net(tokens)[:, :7], net(later)[:, :7], atol=1e-12)
    assert not torch.allclose(net(tokens)[:, 7:], net(later)[:, 7:], atol=1e-3)


def test_documents_of_a_row_are_apart(names):
    net, (first, second) = stirred(net_with(*names)), torch.randint(50, (2, 7))
    ids, positions = documents([7, 7])
    together = net(torch.cat((first, second))[None], ids, positions)
    assert torch.allclose(together[0, 7:], net(second[None])[0], atol=1e-12)


@pytest.mark.parametrize("steps", [[1] * 12, [5, 1, 4, 2]], ids=str)
def test_a_cache_gives_what_a_whole_pass_gives(names, steps):
    net, tokens = stirred(net_with(*names, n_kv_head=2)), torch.randint(50, (2, 12))
    cache, found = net.new_cache(), []
    for part in tokens.split(steps, dim=1):
        found.append(net(part, cache=cache))
    assert torch.allclose(torch.cat(found, dim=1), net(tokens), atol=1e-12)


def test_checkpointing_changes_no_gradient(names):
    gradients = []
    for kept in ("none", "full"):
        net = stirred(net_with(*names, activation_checkpointing=kept)).train()
        torch.manual_seed(2)
        net(torch.arange(12).view(1, 12)).logsumexp(-1).sum().backward()
        gradients.append([weight.grad for weight in net.parameters()])
    assert all(torch.allclose(one, other) for one, other in zip(*gradients, strict=True))


def test_every_weight_of_it_learns(names):
    net = stirred(net_with(*names)).train()
    net(torch.randint(50, (2, 12))).logsumexp(-1).sum().backward()
    assert [name for name, weight in net.named_parameters() if weight.grad is None or not weight.grad.any()] == []
