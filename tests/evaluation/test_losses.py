"""The training loss and the loss of each token are cross-entropy, in chunks of any size."""

from functools import partial

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

import frontpage.evaluation.losses
from frontpage.data.packing import IGNORED
from frontpage.evaluation.losses import ChunkedCrossEntropy, next_token_loss, token_losses


@pytest.fixture(params=[1, 44, 2**24], ids=["chunks of 1", "chunks of 4", "a chunk of all"])
def chunks(request, monkeypatch):
    """Of the 21 tokens that most tests have, with a vocabulary of 11: 21, 6 and 1."""
    monkeypatch.setitem(frontpage.evaluation.losses.CHUNK_NUMBERS, "cpu", request.param)


def problem(dtype, ignored=0.3, seed=0):
    random = torch.Generator().manual_seed(seed)
    hidden = torch.randn(3, 7, 8, generator=random, dtype=torch.float64).to(dtype).requires_grad_()
    weight = torch.randn(11, 8, generator=random, dtype=torch.float64).to(dtype).requires_grad_()
    targets = torch.randint(0, 11, (3, 7), generator=random)
    targets[torch.rand(3, 7, generator=random) < ignored] = IGNORED
    return hidden, weight, targets


def reference(hidden, weight, targets):
    """(loss, gradients) of plain cross-entropy over all logits, in float64."""
    wide = [tensor.detach().double().requires_grad_() for tensor in (hidden, weight)]
    loss = F.cross_entropy((wide[0] @ wide[1].T).flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
    return loss.detach(), torch.autograd.grad(loss, wide)


@pytest.mark.parametrize("ignored", [0.0, 0.3, 0.9])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 0.03)]
)
def test_the_loss_and_its_gradients_are_those_of_cross_entropy(chunks, dtype, tolerance, ignored):
    hidden, weight, targets = problem(dtype, ignored)
    expected, expected_gradients = reference(hidden, weight, targets)
    loss = next_token_loss(hidden, weight, targets)
    assert loss.shape == () and loss.dtype == torch.promote_types(dtype, torch.float32)
    torch.testing.assert_close(loss.detach().double(), expected, rtol=tolerance, atol=tolerance)
    for found, wanted in zip(torch.autograd.grad(loss, (hidden, weight)), expected_gradients, strict=True):
        assert found.dtype == dtype
        torch.testing.assert_close(found.double(), wanted, rtol=tolerance, atol=tolerance)


def test_the_loss_is_zero_with_zero_gradients_where_every_target_is_ignored(chunks):
    hidden, weight, targets = problem(torch.float32)
    loss = next_token_loss(hidden, weight, torch.full_like(targets, IGNORED))
    assert float(loss.detach()) == 0
    assert all(not gradient.any() for gradient in torch.autograd.grad(loss, (hidden, weight)))


def test_a_single_target_is_its_own_mean(chunks):
    hidden, weight, targets = problem(torch.float64)
    alone = torch.full_like(targets, IGNORED)
    alone[1, 3] = 7
    logits = hidden[1, 3] @ weight.T
    expected = logits.exp().sum().log() - logits[7]
    assert float(next_token_loss(hidden, weight, alone).detach()) == pytest.approx(float(expected.detach()), rel=1e-12)


def test_under_autocast_the_loss_is_still_single_precision(chunks):
    hidden, weight, targets = problem(torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = next_token_loss(hidden.bfloat16(), weight, targets)
    expected, _ = reference(hidden, weight, targets)
    assert loss.dtype == torch.float32
    assert float(loss.detach()) == pytest.approx(float(expected), rel=0.02)


def test_a_chunk_of_logits_in_single_precision_is_32_mebibytes_and_on_a_gpu_a_gibibyte():
    sizes = {device: 4 * numbers for device, numbers in frontpage.evaluation.losses.CHUNK_NUMBERS.items()}
    assert sizes == {"cpu": 33_554_432, "gpu": 1_073_741_824}


@pytest.mark.parametrize(("numbers", "most"), [(1, 11), (44, 44), (54, 44), (55, 55), (2**24, 21 * 11)])
def test_no_more_logits_are_held_at_once_than_the_devices_chunk_has(monkeypatch, numbers, most):
    """Whole rows of 11, at least one, of the 21 that there are."""
    monkeypatch.setattr(frontpage.evaluation.losses, "CHUNK_NUMBERS", {"cpu": numbers, "gpu": 22})
    sizes = []

    class Products(TorchDispatchMode):
        def __torch_dispatch__(self, function, kinds, arguments=(), keywords=None):
            found = function(*arguments, **(keywords or {}))
            if function is torch.ops.aten.mm.default and found.shape[-1] == 11:
                sizes.append(found.numel())
            return found

    with Products():
        next_token_loss(*problem(torch.float32))
    assert max(sizes) == most and sum(sizes) == 21 * 11


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 4, 21, 64])
def test_the_gradient_of_own_chunks_is_that_of_the_sum(rows):
    hidden, weight, targets = problem(torch.float64)

    def nats(hidden, weight):
        return ChunkedCrossEntropy.apply(hidden.flatten(0, 1), weight, targets.flatten(), torch.float64, rows)

    assert torch.autograd.gradcheck(nats, (hidden, weight))


@pytest.mark.parametrize("rows", [1, 4, 21])
def test_own_chunks_in_half_precision_are_cross_entropy_of_the_rounded_logits(rows):
    hidden, weight, targets = problem(torch.float32)
    hidden, weight = (part.detach() * 4 for part in (hidden, weight))
    found = ChunkedCrossEntropy.apply(hidden.flatten(0, 1), weight, targets.flatten(), torch.bfloat16, rows)
    logits = (hidden.flatten(0, 1).bfloat16() @ weight.bfloat16().T).double()
    expected = F.cross_entropy(logits, targets.flatten(), ignore_index=IGNORED, reduction="sum")
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("chunk", [1, 4, 20, 21, 22, 2048])
def test_token_losses_are_minus_the_log_probabilities_in_any_chunks(chunk):
    hidden, weight, targets = problem(torch.float64, ignored=0)
    rows, wanted = hidden.detach().flatten(0, 1), targets.flatten()
    logits = rows @ weight.detach().T
    expected = [float(row.exp().sum().log() - row[target]) for row, target in zip(logits, wanted, strict=True)]
    found = token_losses(rows, partial(F.linear, weight=weight), wanted, chunk=chunk)
    assert found.shape == (21,) and not found.requires_grad
    assert found.tolist() == pytest.approx(expected, rel=1e-12)


def test_token_losses_of_half_precision_are_computed_in_single():
    hidden, weight, targets = problem(torch.bfloat16, ignored=0)
    assert (
        token_losses(hidden.flatten(0, 1), partial(F.linear, weight=weight), targets.flatten()).dtype == torch.float32
    )


def test_no_tokens_have_no_losses():
    assert token_losses(torch.zeros(0, 8), torch.nn.Linear(8, 11), torch.zeros(0, dtype=torch.int64)).shape == (0,)
