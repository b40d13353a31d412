"""EmbeddingNorm by value."""

from functools import partial

import pytest
import torch
from nets import added, embedded

from frontpage.attention.causal import CausalAttention
from frontpage.models.additions.embedding_norm import EmbeddingNorm
from frontpage.models.gpt import GPT

TOKENS = torch.arange(12).view(1, 12)


@torch.no_grad()
@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_the_first_layer_reads_the_embedding_over_its_root_mean_square(positions):
    net = added(positions=positions, addition={"embedding_norm": EmbeddingNorm})
    x = embedded(net, TOKENS)
    x = x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    torch.testing.assert_close(net.layer_states(TOKENS, [0])[0], x, rtol=0, atol=1e-12)
    for block in net.blocks:
        x = block(x, None, torch.arange(12))
    torch.testing.assert_close(net(TOKENS), net.head(net.final_norm(x)), rtol=0, atol=1e-12)


def net_with(std, **settings):
    torch.manual_seed(0)
    sizes = {"vocab_size": 300, "block_size": 16, "d_model": 32, "n_layer": 1, "n_head": 4}
    addition = {"embedding_norm": partial(EmbeddingNorm, std=std)}
    return GPT(**sizes, attention=CausalAttention, addition=addition, **settings)


def test_std_is_that_of_the_embeddings_initial_weights_and_of_no_others():
    plain, large = (net_with(std, tie_embeddings=False).state_dict() for std in (None, 1.0))
    ours = plain.pop("token_embedding.weight"), large.pop("token_embedding.weight")
    torch.testing.assert_close(ours[1], ours[0] * 50)
    assert ours[1].std().item() == pytest.approx(1, rel=0.02)
    assert all(torch.equal(weight, large[name]) for name, weight in plain.items())


def test_std_with_a_tied_head_is_refused_and_so_is_one_of_nothing():
    with pytest.raises(ValueError, match=r"^std=1\.0: would be that of the head, too"):
        net_with(1.0)
    with pytest.raises(ValueError, match=r"^std=1\.0: null with model.init_std=0"):
        net_with(1.0, tie_embeddings=False, init_std=0.0)
