"""Promises of the memory estimate."""

import torch
from hydra.utils import instantiate
from tiny import TINY

from frontpage.cli import WHITELIST
from frontpage.memory import estimate_training_bytes
from frontpage.notices import forget_notices, notices


class WithoutMetaForm(torch.nn.Module):
    """A net with an operator that needs real numbers."""

    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(4, 10)

    def hidden(self, tokens, document_ids=None, positions=None):
        if tokens.sum().item() >= 0:  # the meta device has no numbers to look at
            return self.head.weight[tokens % 10]


def test_the_estimate_grows_with_batch_and_optimizer_and_touches_no_weight(config):
    module = instantiate(config(*TINY).model, vocab_size=300, _execution_whitelist_=WHITELIST)
    before = {name: value.clone() for name, value in module.net.state_dict().items()}
    weights = sum(parameter.numel() * 4 for parameter in module.net.parameters())
    small = estimate_training_bytes(module.net, 2, 8, 32, True)
    assert estimate_training_bytes(module.net, 2, 16, 32, True) > small > 4 * weights
    assert small - estimate_training_bytes(module.net, 0, 8, 32, True) == 2 * weights
    assert all(torch.equal(before[name], value) for name, value in module.net.state_dict().items())


def test_no_estimate_is_said():
    forget_notices()
    assert estimate_training_bytes(WithoutMetaForm(), 2, 2, 4, False) is None
    assert "no memory estimate" in notices()[0]
    forget_notices()
