"""Promises of Lion: it is its algorithm, and refuses what it cannot take."""

import pytest
import torch

from frontpage.recipe.optimizers.lion import Lion


def lion_by_hand(weight, gradients, lr, b1, b2, decay):
    """Algorithm 2 of Chen et al. 2023, one number after the other."""
    weight, momentum = weight.double().tolist(), [0.0] * len(weight)
    for gradient in gradients:
        for place, g in enumerate(gradient.double().tolist()):
            c = b1 * momentum[place] + (1 - b1) * g
            sign = (c > 0) - (c < 0)
            weight[place] -= lr * (sign + decay * weight[place])
            momentum[place] = b2 * momentum[place] + (1 - b2) * g
    return torch.tensor(weight), torch.tensor(momentum)


def test_lion_is_its_algorithm():
    torch.manual_seed(0)
    weight, gradients = torch.nn.Parameter(torch.randn(50)), torch.randn(20, 50)
    gradients[:3, 0] = 0  # no direction: only the decay moves it
    expected = lion_by_hand(weight.detach(), gradients, 0.01, 0.8, 0.95, 0.5)
    optimizer = Lion([weight], lr=0.01, betas=(0.8, 0.95), weight_decay=0.5)
    for gradient in gradients:
        weight.grad = gradient
        optimizer.step()
    torch.testing.assert_close(weight.detach(), expected[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(optimizer.state[weight]["exp_avg"], expected[1], rtol=1e-4, atol=1e-6)


def test_what_lion_is_not_told_is_as_in_the_paper():
    (group,) = Lion([torch.nn.Parameter(torch.zeros(1))]).param_groups
    assert (group["lr"], group["betas"], group["weight_decay"]) == (1e-4, (0.9, 0.99), 0.0)


@pytest.mark.parametrize("settings", [{"lr": -1}, {"weight_decay": -1}, {"betas": (1, 0.9)}])
def test_lion_refuses_what_it_cannot_take(settings):
    with pytest.raises(ValueError, match=f"{next(iter(settings))}="):
        Lion([torch.nn.Parameter(torch.zeros(1))], **settings)
