"""EmbeddingAgain by value."""

from types import SimpleNamespace

import pytest
import torch
from nets import added, embedded

from frontpage.models.additions.embedding_again import EmbeddingAgain
from frontpage.models.unet_gpt import UNetGPT

TOKENS = torch.arange(12).view(1, 12)


@torch.no_grad()
def test_each_layer_reads_the_weighted_sum_of_the_stream_and_the_embedding():
    net = added(addition={"embedding_again": EmbeddingAgain})
    x = first = embedded(net, TOKENS)
    for block, (of_stream, of_embedding) in zip(net.blocks, net.additions["embedding_again"].factors, strict=True):
        x = block(of_stream * x + of_embedding * first)
    torch.testing.assert_close(net(TOKENS), net.head(net.final_norm(x)), rtol=0, atol=1e-12)


def test_its_factors_start_as_they_are_told():
    factors = EmbeddingAgain(added(n_layer=2), stream=1.1, embedding=0.2).factors
    assert torch.equal(factors, torch.tensor([[1.1, 0.2], [1.1, 0.2]]))


def test_layers_of_several_widths_are_refused():
    with pytest.raises(ValueError, match=r"^widths=\[32, 16, 32\]: embedding_again needs layers of one width"):
        added(UNetGPT, widths=[32, 16, 32], addition={"embedding_again": EmbeddingAgain})


def test_whole_numbers_are_numbers():
    factors = EmbeddingAgain(SimpleNamespace(widths=[8, 8]), stream=1, embedding=0).factors
    assert factors.dtype == torch.float32 and factors.tolist() == [[1.0, 0.0]] * 2
