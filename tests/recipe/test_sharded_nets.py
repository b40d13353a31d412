"""Promises of nets whose rows lie in two processes: what is computed of them is what a whole net gives."""

import pytest
import torch
import torch.distributed as dist
from optimizers import VOCABULARY, module_of
from tiny import options
from torch.distributed.device_mesh import init_device_mesh
from two_ranks import in_two_ranks

from frontpage.recipe.parameter_groups import fused_rows, optimizer_of
from frontpage.recipe.sharded_nets import gather, gathered, is_gathered, scatter, shard
from frontpage.recipe.sharded_tensors import clip_gradients, collected, own_part, placed_like, total_norm, whole

SHARDED = [name for name in options("optimizer") if name != "adamw_8bit"]  # which is refused
COMPARABLE = {"adagrad": {"fused": False}, "muon": {"iteration": "float32"}}  # as exact on every machine


def net_of(name="adamw", number=2.5):
    """A net with a weight that is a single number, and one whose rows two processes cannot share equally."""
    module = module_of(name, activation="swiglu", bias=True)
    module.net.number = torch.nn.Parameter(torch.tensor(number))
    module.net.odd = torch.nn.Parameter(torch.arange(15.0).view(5, 3) / 7)
    module.make_optimizer.keywords.update(COMPARABLE.get(name, {}))
    return module


def loss_of(net, tokens):
    """A loss to which every weight adds, the head's read behind the trunk's pass."""
    states = net.hidden(tokens)
    logits = torch.nn.functional.linear(states, net.heads["language"].weight) * net.number
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten()) + net.odd.square().sum()


def rows(update):
    """Four rows of tokens (4, 12), of which each of two processes takes two."""
    return torch.randint(VOCABULARY, (4, 12), generator=torch.Generator().manual_seed(update))


def updated(net, optimizer, own=slice(None), limit=0.5):
    """The gradient's norm, before clipping, of each of three updates."""
    norms = []
    for update in range(3):
        optimizer.zero_grad()
        loss_of(net, rows(update)[own]).backward()
        norms.append(clip_gradients(net.parameters(), limit))
        optimizer.step()
    return torch.stack([norm.detach() for norm in norms])


def updates_of(folder, names):
    """In each of two processes: train sharded nets, and keep what the first collects."""
    rank, mesh = dist.get_rank(), init_device_mesh("cpu", (2,))
    for name in names:
        module = net_of(name)
        numbers = shard(module.net, mesh)
        optimizer = optimizer_of(module.net, module.make_optimizer)
        norms = updated(module.net, optimizer, slice(rank, None, 2))
        weights, state = collected(module.net.state_dict(), rank == 0), collected(optimizer.state_dict(), rank == 0)
        norm = total_norm(module.net.parameters())
        assert numbers == {"number"} and not is_gathered(module.net)
        assert (weights == {}) == (rank == 1)
        if rank == 0:
            kept = {"norms": norms, "weights": weights, "state": state["state"], "norm": norm}
            torch.save(kept, folder / f"{name}.pt")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("sharded")
    in_two_ranks(updates_of, found, SHARDED)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", SHARDED)
def test_every_optimizer_updates_the_rows_of_two_processes_as_those_of_one(folder, name):
    found, module = torch.load(folder / f"{name}.pt", weights_only=True), net_of(name)
    optimizer = optimizer_of(module.net, module.make_optimizer)
    norms = updated(module.net, optimizer)
    assert torch.allclose(found["norms"], norms, rtol=1e-5)
    assert torch.allclose(found["norm"], total_norm(module.net.parameters()), rtol=1e-5)
    loose = {"atol": 1e-3} if name in ("lion", "adagrad", "rmsprop") else {"atol": 1e-6}  # signs of gradients near 0
    for key, weight in module.net.state_dict().items():
        assert torch.allclose(found["weights"][key].reshape(weight.shape), weight, rtol=1e-4, **loose), key
    for index, own in optimizer.state_dict()["state"].items():
        for key, value in own.items():
            if torch.is_tensor(value):
                assert torch.allclose(found["state"][index][key].reshape(value.shape), value, atol=1e-5), (index, key)


def _gathered_and_back(folder):
    rank, mesh, tokens = dist.get_rank(), init_device_mesh("cpu", (2,)), rows(7)
    plain, sharded = net_of().net.eval(), net_of().net.eval()
    with torch.no_grad():
        expected, states = plain(tokens), plain.layer_states(tokens, [0, 1])
    shard(sharded, mesh)
    own = {name: own_part(weight).clone() for name, weight in sharded.named_parameters()}
    assert {own["odd"].shape[0], own["number"].numel()} == ({3, 1}, {2, 0})[rank]
    for name, weight in plain.named_parameters():
        assert torch.equal(whole(sharded.get_parameter(name)).reshape(weight.shape), weight)
        assert torch.equal(own_part(placed_like(weight.detach(), sharded.get_parameter(name))), own[name])
    with torch.no_grad():
        assert torch.equal(sharded(tokens), expected)  # all take part
        with gathered(sharded):
            assert is_gathered(sharded)
            if rank == 0:  # alone, as often as it likes
                for _ in range(2):
                    found = sharded.layer_states(tokens, [0, 1])
                    assert torch.equal(sharded(tokens), expected)
                    assert torch.equal(sharded.hidden(tokens), plain.hidden(tokens))
                assert all(torch.equal(found[layer], states[layer]) for layer in states)
            with gathered(sharded):
                pass
            assert is_gathered(sharded)
        assert not is_gathered(sharded)
    gather(sharded)
    scatter(sharded)
    scatter(sharded)
    assert all(torch.equal(own_part(weight), own[name]) for name, weight in sharded.named_parameters())
    rows_of = {id(weight): name for name, weight in sharded.named_parameters()}
    fused = {rows_of[id(weight)]: parts for weight, parts in fused_rows(sharded).items()}
    names = {id(weight): name for name, weight in plain.named_parameters()}
    assert fused == {names[id(weight)]: parts for weight, parts in fused_rows(plain).items()} and len(fused) == 2


@pytest.mark.slow
def test_a_gathered_net_computes_by_itself_and_a_scattered_one_has_its_rows_again(tmp_path):
    in_two_ranks(_gathered_and_back, tmp_path)
