"""What every option of configs/model/addition promises, alone and all of them together, at the end of a run."""

import shutil
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from tiny import architectures, composed
from torch._dynamo.utils import counters
from torch._inductor import config as inductor

from frontpage.attention.causal import CausalAttention
from frontpage.command.build import build
from frontpage.command.config_folder import CONFIGS
from frontpage.command.errors import UserError
from frontpage.models.decoder import Decoder
from frontpage.models.gpt import GPT

NAMES = sorted(path.stem for path in Path(CONFIGS, "model/addition").glob("*.yaml"))
SIZES = {
    "vocab_size": 50,
    "block_size": 16,
    "d_model": 32,
    "n_layer": 6,
    "n_head": 4,
    "positions": "rotary",
    "rotary_share": 0.5,
}


def additions(*names: str) -> dict:
    nodes = OmegaConf.merge(*(OmegaConf.load(Path(CONFIGS, "model/addition", f"{name}.yaml")) for name in names))
    return {name: build(node, f"model.addition.{name}") for name, node in nodes.items()}


def net_with(*names: str, **changed: object) -> GPT:
    torch.manual_seed(0)
    settings = SIZES | {"attention": CausalAttention} | changed
    return at_the_end(GPT(**settings, addition=additions(*names) if names else None)).double().eval()


def at_the_end(net: Decoder) -> Decoder:
    """As it is when a run ends."""
    for addition in net.additions.values():
        addition.at(1.0)
    return net


def stirred(net: Decoder) -> Decoder:
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
        net = stirred(net_with(*names, activation_checkpointing=kept, dropout=0.2)).train()
        torch.manual_seed(2)
        net(torch.arange(48).view(4, 12)).logsumexp(-1).sum().backward()
        gradients.append([weight.grad for weight in net.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def test_every_weight_of_it_learns(names):
    net = stirred(net_with(*names)).train()
    net(torch.randint(50, (2, 12))).logsumexp(-1).sum().backward()
    assert [name for name, weight in net.named_parameters() if weight.grad is None or not weight.grad.any()] == []


@torch.no_grad()
def test_its_weights_are_all_that_another_net_needs(names):
    trained, other, tokens = stirred(net_with(*names)), net_with(*names), torch.randint(50, (2, 12))
    for addition in other.additions.values():
        addition.at(0.0)
    other.load_state_dict(trained.state_dict())
    assert torch.equal(other(tokens), trained(tokens))


@torch.no_grad()
def test_the_states_of_the_last_layer_are_what_the_final_norm_reads(names):
    net, tokens = stirred(net_with(*names)), torch.randint(50, (2, 12))
    states = net.layer_states(tokens, range(7))
    assert [*states] == [*range(7)] and torch.equal(net.final_norm(states[6]), net.hidden(tokens))


def test_it_trains_in_bf16(names):
    net, tokens = stirred(net_with(*names, tie_embeddings=False)).float(), torch.arange(48).view(4, 12)
    expected = net(tokens).detach()
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(net(tokens).float(), expected, rtol=0, atol=0.2 * expected.std().item())
        net.train()(tokens).logsumexp(-1).sum().backward()
    assert [name for name, weight in net.named_parameters() if weight.grad is None or not weight.grad.any()] == []


ARCHITECTURES = [*((f"model={name}",) for name in architectures()), ("model=deep_narrow", "model.norm=deepnorm")]


@pytest.mark.parametrize("more", ARCHITECTURES, ids=" ".join)
def test_it_trains_with_every_architecture_or_is_refused_in_a_line(names, more):
    sizes = ("data.block_size=32", "model.d_model=32", "model.n_layer=5", "model.n_head=4")
    config = composed(*more, *sizes, f"model/addition=[{','.join(names)}]")
    try:
        net = at_the_end(build(config.model, "model", vocab_size=50).net).train()
    except UserError as refusal:
        assert str(refusal).startswith("model.") and "\n" not in str(refusal)
        return
    net(torch.randint(50, (2, 12))).logsumexp(-1).sum().backward()
    assert [
        name for name, weight in net.named_parameters() if weight.grad is None or not weight.grad.isfinite().all()
    ] == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch imports torch.jit for itself
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
@inductor.patch(fallback_random=True)
def test_compiled_it_is_one_graph_and_gives_the_same(names, backend):
    if backend == "inductor" and (names != NAMES or shutil.which("g++") is None):
        pytest.skip("all of them at once, and with a C++ compiler: it takes minutes")
    net, tokens = stirred(net_with(*names, n_layer=3)).float().train(), torch.randint(50, (4, 12))

    def results(hidden):
        net.zero_grad()
        torch.manual_seed(2)
        states = hidden(tokens)
        states.square().mean().backward()
        return [states.detach(), *(weight.grad.clone() for weight in net.parameters() if weight.grad is not None)]

    expected = results(net.hidden)
    torch._dynamo.reset()
    counters.clear()
    found = results(torch.compile(net.hidden, backend=backend))
    assert counters["stats"]["unique_graphs"] == 1 and not counters["graph_break"]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)
