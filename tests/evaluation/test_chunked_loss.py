"""A loss of logits that are never held all at once is that loss, in its value and in both gradients."""

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

import frontpage.evaluation.losses
from frontpage.data.packing import IGNORED
from frontpage.evaluation.chunked_loss import ChunkedLoss
from frontpage.evaluation.losses import language_loss, loss_of_logits, next_token_loss, token_losses
from frontpage.evaluation.soft_cap import soft_capped
from frontpage.models.language_head import LanguageHead

PASSES, ROWS, WIDTH, VOCABULARY = 2, 21, 8, 11


def problem(dtype=torch.float64):
    random = torch.Generator().manual_seed(0)
    states = torch.randn(PASSES, ROWS, WIDTH, generator=random, dtype=torch.float64).to(dtype).requires_grad_()
    weight = torch.randn(VOCABULARY, WIDTH, generator=random, dtype=torch.float64).to(dtype).requires_grad_()
    targets = torch.randint(0, VOCABULARY, (ROWS,), generator=random)
    targets[torch.rand(ROWS, generator=random) < 0.3] = IGNORED
    return states, weight, targets


def odd_loss(targets):
    """One that depends on the places, on both passes at once and on more than the target's logit."""

    def of_logits(logits, place):
        scored = targets[place] != IGNORED
        one, other = logits
        spread = ((one - other).square().sum(-1) + one.logsumexp(-1) * other.std(-1)) * scored
        return spread.sum(), (scored * torch.arange(len(targets))[place]).sum().to(logits.dtype)

    return of_logits


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cap", [None, 1.5])
@pytest.mark.parametrize("numbers", [1, 44, 200, 2**24])
def test_value_and_gradients_are_those_of_all_logits_at_once(monkeypatch, numbers, cap):
    monkeypatch.setitem(frontpage.evaluation.losses.CHUNK_NUMBERS, "cpu", numbers)
    states, weight, targets = problem()
    found, told = loss_of_logits(states, weight, odd_loss(targets), cap)
    logits = states @ weight.T
    expected, sum_of_places = odd_loss(targets)(logits if cap is None else cap * torch.tanh(logits / cap), slice(None))
    close(found, expected)
    assert float(told) == float(sum_of_places) and not told.requires_grad
    for one, other in zip(
        torch.autograd.grad(3.0 * found, (states, weight)),
        torch.autograd.grad(3.0 * expected, (states, weight)),
        strict=True,
    ):
        close(one, other)


@pytest.mark.parametrize("rows", [2, 64])
def test_the_gradient_is_that_of_the_sum(rows):
    states, weight, targets = problem()
    few = states.detach()[:, :3, :2].requires_grad_(), weight.detach()[:4, :2].requires_grad_()
    of_logits = odd_loss(targets[:3])
    assert torch.autograd.gradcheck(lambda *inputs: ChunkedLoss.apply(*inputs, of_logits, torch.float64, rows)[0], few)


@pytest.mark.parametrize(("numbers", "most"), [(1, 22), (120, 44), (2**24, 462)])
def test_half_as_many_logits_are_held_as_without_a_graph(monkeypatch, numbers, most):
    monkeypatch.setitem(frontpage.evaluation.losses.CHUNK_NUMBERS, "cpu", numbers)
    states, weight, targets = problem()
    sizes = []

    class Products(TorchDispatchMode):
        def __torch_dispatch__(self, function, kinds, arguments=(), keywords=None):
            found = function(*arguments, **(keywords or {}))
            if function in (torch.ops.aten.bmm.default, torch.ops.aten.mm.default) and found.shape[-1] == VOCABULARY:
                sizes.append(found.numel())
            return found

    with Products():
        loss_of_logits(states, weight, odd_loss(targets))
    assert max(sizes) == most and sum(sizes) == PASSES * ROWS * VOCABULARY


def test_products_are_rounded_as_autocast_says_and_the_rest_is_not():
    states, weight, targets = problem(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = loss_of_logits(states, weight, odd_loss(targets))
    logits = (states.bfloat16() @ weight.bfloat16().T).double()
    expected, _ = odd_loss(targets)(logits, slice(None))
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    for one, other in zip(
        torch.autograd.grad(found, (states, weight)), torch.autograd.grad(expected, (states, weight)), strict=True
    ):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=0.05, atol=0.05 * float(other.abs().max()))


@pytest.mark.parametrize("numbers", [1, 44, 2**24])
def test_a_capped_next_token_loss_is_the_cross_entropy_of_capped_logits(monkeypatch, numbers):
    monkeypatch.setitem(frontpage.evaluation.losses.CHUNK_NUMBERS, "cpu", numbers)
    states, weight, targets = problem()
    hidden, targets = states[0].unflatten(0, (3, 7)), targets.view(3, 7)
    found = next_token_loss(hidden, weight, targets, 2.0)
    logits = 2.0 * torch.tanh(hidden @ weight.T / 2.0)
    expected = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
    close(found, expected)
    close(torch.autograd.grad(found, weight)[0], torch.autograd.grad(expected, weight)[0])
    assert next_token_loss(hidden, weight, torch.full_like(targets, IGNORED), 2.0).item() == 0.0


def test_a_head_caps_what_it_gives_and_the_loss_of_each_token():
    torch.manual_seed(0)
    plain, capped = LanguageHead(8, 11), LanguageHead(8, 11, cap=0.7)
    capped.load_state_dict(plain.state_dict())
    states, targets = 3 * torch.randn(5, 8), torch.arange(5)
    logits = 0.7 * torch.tanh(states @ plain.weight.T / 0.7)
    assert torch.equal(plain(states), states @ plain.weight.T) and plain.bias is None
    torch.testing.assert_close(capped(states), logits)
    assert capped(100 * states).abs().max().item() <= 0.7 < plain(states).abs().max().item()
    expected = F.cross_entropy(logits, targets, reduction="none")
    torch.testing.assert_close(token_losses(states, capped, targets), expected)
    stub = torch.nn.Module()
    stub.heads = {"language": capped}
    torch.testing.assert_close(language_loss(stub, states[None], targets[None]), expected.mean())


def test_no_cap_leaves_the_very_logits():
    logits = torch.randn(3)
    assert soft_capped(logits, None) is logits


def test_a_cap_is_computed_in_fp32_as_training_computes_it():
    logits = 4 * torch.randn(500, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert torch.equal(soft_capped(logits, 15.0), soft_capped(logits.float(), 15.0))
    assert soft_capped(logits.double(), 15.0).dtype == torch.float64
