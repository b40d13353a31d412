"""Promises of Muon: PyTorch's for matrices, AdamW for the rest, and an iteration in the type that is fast."""

import pytest
import torch
from optimizers import give_gradients, module_of

from frontpage.command.notices import forget_notices, notices
from frontpage.recipe.optimizers import muon
from frontpage.recipe.optimizers.muon import Muon
from frontpage.recipe.parameter_groups import decay_groups


@pytest.fixture
def fast(monkeypatch):
    """fast(precision) is what the device is said to be fastest in."""
    return lambda precision: monkeypatch.setattr(muon, "best_precision", lambda kind: (precision, f"{kind} was asked"))


@pytest.mark.parametrize("tied", [True, False])
def test_muon_is_pytorchs_for_matrices_and_adamw_for_the_rest(tied, fast):
    fast("bf16-mixed")
    mine, plain = (module_of("muon", tie_embeddings=tied).net for _ in range(2))
    optimizer = Muon(decay_groups(mine, 0.3), lr=0.01, adamw_lr=0.002, weight_decay=0.3, momentum=0.9)
    matrices, *others = decay_groups(plain, 0.3)
    settings = {"momentum": 0.9, "adjust_lr_fn": "match_rms_adamw", "weight_decay": 0.3}
    pair = torch.optim.Muon([matrices], lr=0.01, **settings), torch.optim.AdamW(others, lr=0.002, betas=(0.9, 0.95))
    assert [group["lr"] for group in optimizer.param_groups] == [0.01] + [0.002] * len(others)
    for seed in range(4):
        give_gradients(mine, seed)
        give_gradients(plain, seed)
        for one in (optimizer, *pair):
            one.step()
    for ours, theirs in zip(mine.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(("precision", "kind"), [("32-true", "float32"), ("bf16-mixed", "bfloat16")])
def test_muons_iteration_is_in_the_type_that_is_fast_and_stays_in_it(fast, precision, kind):
    fast(precision)
    forget_notices()
    net = module_of("muon").net
    optimizer = Muon(decay_groups(net, 0.1))
    give_gradients(net, 0)
    optimizer.step()
    assert notices() == [f"optimizer=muon: its iteration is computed in {kind}, since cpu was asked"]
    fast("32-true" if kind == "bfloat16" else "bf16-mixed")
    continued = Muon(decay_groups(net, 0.1))
    continued.load_state_dict(optimizer.state_dict())
    continued.step()
    assert [group.get("iteration") for group in continued.param_groups if group["name"] == "matrices"] == [kind]
    assert len(notices()) == 1


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_a_type_that_is_asked_for_is_taken_without_a_look_at_the_device(fast, kind):
    fast("32-true" if kind == "bfloat16" else "bf16-mixed")
    forget_notices()
    net = module_of("muon").net
    optimizer = Muon(decay_groups(net, 0.1), iteration=kind)
    give_gradients(net, 0)
    optimizer.step()
    kinds = [group["iteration"] for group in optimizer.param_groups if group["name"] == "matrices"]
    assert kinds == [kind] and notices() == []


@pytest.mark.parametrize("shape", [(24, 24), (16, 48), (96, 32)])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_muons_iteration_brings_singular_values_near_one(shape, kind):
    """In either type as near: Jordan et al. have them between 0.7 and 1.2 or so behind five steps."""
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    got = muon.orthogonal(matrix, 5, kind)
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    inside = u.mT @ got.double() @ v.mT
    assert got.dtype == kind and got.shape == shape
    assert 0.3 < float(inside.diagonal().min()) and float(inside.diagonal().max()) < 1.3
    assert float((inside - inside.diagonal().diag()).abs().max()) < (1e-4 if kind == torch.float32 else 0.05)


def test_muon_leaves_the_momentum_of_bf16_weights_as_it_is(fast):
    """Dividing in place by the norm, where nothing is converted, would divide the momentum."""
    fast("bf16-mixed")
    weight = torch.nn.Parameter(torch.zeros(4, 4, dtype=torch.bfloat16))
    optimizer = Muon(
        [{"name": "matrices", "params": [weight]}, {"name": "others", "params": [torch.zeros(1)]}], nesterov=False
    )
    weight.grad = torch.full_like(weight, 8.0)
    optimizer.step()
    assert torch.equal(optimizer.state[weight]["momentum_buffer"], (0.05 * weight.grad))


def test_muon_wants_named_groups():
    with pytest.raises(ValueError, match="one of them named matrices"):
        Muon([{"params": [torch.nn.Parameter(torch.zeros(2, 2))]}])
