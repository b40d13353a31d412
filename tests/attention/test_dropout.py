"""Promises of attention dropout: it is drawn in training wherever a layer is computed."""

import pytest
import torch
from attentions import HEADS, WIDTH, attention_factory, inputs


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("name", ["causal", "local", "fixed", "strided", "sliding_window", "sparsek"])
def test_it_is_drawn_in_training_without_gradients_too(name):
    """As in the first of several rounds through the layers; a kernel that cannot draw is not taken."""
    layer, x = attention_factory(name)(WIDTH, HEADS, 512, dropout=0.5), inputs(1, 512)
    assert not torch.equal(layer.train()(x), layer(x))
    assert torch.equal(layer.eval()(x), layer(x))
