"""What the tests of this part share."""

import torch
from torch.nn import functional as F

IDS = torch.tensor([[0] * 5 + [1] + [2] * 13 + [7] * 4, [3] * 16 + [4] * 7])  # (2, 23); one boundary is a chunk's


def parts(rows=2, heads=4, kv_heads=2, time=23, width=8, value_width=8, dtype=torch.float64, alike=0.0):
    """q, k, v, log decay and log write, that need gradients; with `alike` all keys point almost the same way."""
    normal = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=normal, dtype=torch.float64).to(dtype)

    q = F.normalize(draw(rows, heads, time, width), dim=-1)
    k = F.normalize(draw(rows, kv_heads, time, width) + alike, dim=-1)
    v, decay, write = (
        draw(rows, kv_heads, time, value_width),
        -draw(rows, kv_heads, time).abs(),
        F.logsigmoid(2 * draw(rows, kv_heads, time)),
    )
    return [part.requires_grad_() for part in (q, k, v, decay, write)]


def gradients(outputs, wanted):
    """Of a weighted sum of the outputs that is the same for the same shapes."""
    normal = torch.Generator().manual_seed(5)
    weights = (torch.randn(output.shape, generator=normal, dtype=torch.float64) for output in outputs)
    total = sum((output * weight.to(output.dtype)).sum() for output, weight in zip(outputs, weights, strict=True))
    return torch.autograd.grad(total, wanted)


def assert_near(found, expected, within=1e-10):
    torch.testing.assert_close(found, expected, rtol=0, atol=within)
