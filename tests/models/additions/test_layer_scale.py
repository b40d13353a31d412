"""LayerScale by value: it is what the last matrix of each branch would do, were its rows scaled."""

from functools import partial

import pytest
import torch
from nets import added

from frontpage.models.additions.layer_scale import LayerScale
from frontpage.models.deep_narrow import DeepNarrow
from frontpage.models.gpt import GPT
from frontpage.models.unet_gpt import UNetGPT

TOKENS = torch.arange(12).view(1, 12)
NETS = {
    "pre": (GPT, {}),
    "post": (GPT, {"norm_position": "post"}),
    "deepnorm": (DeepNarrow, {"norm": "deepnorm"}),
    "unet": (UNetGPT, {"widths": [32, 16, 24, 32]}),
}


@torch.no_grad()
@pytest.mark.parametrize("name", NETS)
def test_each_branch_is_scaled_by_its_numbers(name):
    architecture, settings = NETS[name]
    net, plain = added(architecture, addition={"layer_scale": LayerScale}, **settings), added(architecture, **settings)
    plain.load_state_dict({name: value for name, value in net.state_dict().items() if ".after_" not in name})
    assert not torch.allclose(net(TOKENS), plain(TOKENS), atol=1e-3)
    for block, of_plain in zip(net.blocks, plain.blocks, strict=True):
        ends = ((block.after_attention, of_plain.attention.out), (block.after_mlp, of_plain.mlp.down))
        for (scale,), linear in ends:
            linear.weight.mul_(scale.factors[:, None])
            if linear.bias is not None:
                linear.bias.mul_(scale.factors)
    torch.testing.assert_close(net(TOKENS), plain(TOKENS), rtol=0, atol=1e-12)


def test_its_numbers_start_as_they_are_told_as_many_as_the_layer_is_wide():
    net = added(UNetGPT, widths=[32, 16, 32])
    LayerScale(net, start=0.25)
    for block, width in zip(net.blocks, net.widths, strict=True):
        for (scale,) in (block.after_attention, block.after_mlp):
            assert torch.equal(scale.factors, torch.full((width,), 0.25))
    net = added(addition={"layer_scale": partial(LayerScale, start=0.0)}, n_layer=1)
    assert net.blocks[0].after_mlp[0].factors.abs().max() < 0.5  # stirred, around 0
