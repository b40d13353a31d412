"""Promises of FlexAttention's blocks: those that PyTorch makes, and no kernel of its own for each batch."""

import pytest
import torch
import torch._dynamo
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from frontpage.attention.causal import Causal
from frontpage.attention.fixed import Fixed
from frontpage.attention.kernels.flex import FlexMask, block_mask
from frontpage.attention.local import Local
from frontpage.attention.parts.documents import places_in_documents
from frontpage.attention.strided import Strided

CPU = torch.device("cpu")
PATTERNS = [[Causal()], [Local(5)], [Local(300)], [Local(40), Strided(7)], [Fixed(64, 8), Fixed(64, 8, 1)]]


def documents(time, seed=0):
    """Two rows of some long documents, and their places."""
    lengths = torch.rand(2, time, generator=torch.Generator().manual_seed(seed)) < 3 / time
    ids = lengths.cumsum(1)
    return ids, places_in_documents(ids)


@pytest.mark.parametrize("patterns", PATTERNS, ids=str)
@pytest.mark.parametrize("packed", [False, True], ids=["one document", "documents"])
@pytest.mark.parametrize("time", [1, 128, 500])
def test_blocks_are_those_that_pytorch_finds_in_the_whole_square(patterns, packed, time):
    mask = FlexMask(patterns, 4, documents(time) if packed else None)
    shape = (2 if packed else 1, 4 if len(patterns) > 1 else 1, time, time)
    found, expected = block_mask(mask, *shape, CPU), create_block_mask(mask, *shape, device=CPU)
    assert found.seq_lengths == expected.seq_lengths and found.BLOCK_SIZE == expected.BLOCK_SIZE
    assert torch.equal(found.to_dense(), expected.to_dense())
    for kind in ("kv", "full_kv", "q", "full_q"):
        count, theirs = (getattr(one, f"{kind}_num_blocks") for one in (found, expected))
        assert torch.equal(count, theirs), kind
        used = torch.arange(getattr(found, f"{kind}_indices").shape[-1]) < count[..., None]
        one, other = (getattr(one, f"{kind}_indices").masked_fill(~used, -1) for one in (found, expected))
        assert torch.equal(one, other), kind


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of the compiler
def test_a_compiled_kernel_serves_every_batch_of_documents(monkeypatch):
    """Ten batches, no second kernel: at PyTorch's limit of kernels it would compute without one, and say so once."""
    monkeypatch.setattr(torch._dynamo.config, "fail_on_recompile_limit_hit", True)
    monkeypatch.setattr(torch._dynamo.config, "recompile_limit", 2)
    torch.compiler.reset()
    run, q, k, v = torch.compile(flex_attention), *torch.randn(3, 2, 4, 256, 16).unbind()
    with torch.no_grad():
        for seed in range(10):
            ids = documents(256, seed)
            blocks = block_mask(FlexMask([Local(40), Strided(7)], 4, ids), 2, 4, 256, 256, CPU)
            torch.testing.assert_close(run(q, k, v, block_mask=blocks), flex_attention(q, k, v, block_mask=blocks))
    torch.compiler.reset()
