"""Dense causal attention and rotary positions against loops and complex numbers; the specification's document mask."""

import cmath
import itertools
import math

import pytest
import torch

from frontpage.attention.causal import CausalAttention
from frontpage.attention.parts.rotary import Rotary

WIDTH, HEADS, TIME = 24, 4, 9
HEAD_WIDTH = WIDTH // HEADS
DOCUMENTS = torch.tensor([[0, 0, 1, 1, 1, 2, 2, 3, 3], [4, 5, 5, 5, 5, 5, 5, 5, 5]])
POSITIONS = torch.tensor([[0, 1, 0, 1, 2, 0, 1, 0, 1], [0, 0, 1, 2, 3, 4, 5, 6, 7]])


@pytest.fixture(autouse=True)
def exact():
    """float64 everywhere, the tables of rotary positions included."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def turned(vector, position, base):
    """One head's query or key as complex numbers (first half real, second half imaginary), turned by its position."""
    half = len(vector) // 2
    numbers = [complex(vector[i], vector[half + i]) for i in range(half)]
    numbers = [z * cmath.exp(1j * position * base ** (-2 * i / len(vector))) for i, z in enumerate(numbers)]
    return torch.tensor([z.real for z in numbers] + [z.imag for z in numbers])


def normalised(vector):
    return vector / (vector.square().mean() + 1e-6).sqrt()


def naive(attention, x, documents, positions, *, base, rotary, qk_norm):
    """Attention of one row of (T, C) inputs in plain loops over heads, queries and keys."""
    projected = attention.qkv(x)
    groups, mixed = attention.n_kv_head, torch.zeros(TIME, WIDTH)
    for head in range(HEADS):
        group = head // (HEADS // groups)
        starts = (head, HEADS + group, HEADS + groups + group)
        q, k, v = (projected[:, start * HEAD_WIDTH : (start + 1) * HEAD_WIDTH] for start in starts)
        if qk_norm:
            q, k = (torch.stack([normalised(row) for row in part]) for part in (q, k))
        if rotary:
            q, k = (torch.stack([turned(r, int(p), base) for r, p in zip(m, positions, strict=True)]) for m in (q, k))
        for i in range(TIME):
            visible = [j for j in range(i + 1) if documents is None or documents[i] == documents[j]]
            scores = [float(q[i] @ k[j]) / math.sqrt(HEAD_WIDTH) for j in visible]
            total = sum(math.exp(score) for score in scores)
            for j, score in zip(visible, scores, strict=True):
                mixed[i, head * HEAD_WIDTH : (head + 1) * HEAD_WIDTH] += math.exp(score) / total * v[j]
    return attention.out(mixed)


@pytest.mark.parametrize("masked", [False, True], ids=["one document", "documents"])
@pytest.mark.parametrize("qk_norm", [False, True], ids=["", "qk_norm"])
@pytest.mark.parametrize("rotary", [False, True], ids=["", "rotary"])
@pytest.mark.parametrize("n_kv_head", [None, 2, 1])
@torch.no_grad()
def test_causal_attention_is_what_plain_loops_give(n_kv_head, rotary, qk_norm, masked):
    torch.manual_seed(0)
    options = {"n_kv_head": n_kv_head, "rotary": rotary, "qk_norm": qk_norm, "rotary_base": 500.0}
    attention = CausalAttention(WIDTH, HEADS, 16, **options)
    x = torch.randn(2, TIME, WIDTH)
    documents, positions = (DOCUMENTS, POSITIONS) if masked else (None, None)
    found = attention(x, document_ids=documents, positions=positions)
    for row in range(2):
        own = documents[row] if masked else None
        places = positions[row] if masked else torch.arange(TIME)
        expected = naive(attention, x[row], own, places, base=500.0, rotary=rotary, qk_norm=qk_norm)
        torch.testing.assert_close(found[row], expected, rtol=0, atol=1e-12)


def test_the_document_mask_is_the_picture_of_the_specification():
    """Tokens a b E c d E e, ids 0 0 1 1 1 2 2: `<eos>` opens the next document."""
    torch.manual_seed(0)
    x = torch.randn(1, 7, WIDTH, requires_grad=True)
    y = CausalAttention(WIDTH, HEADS, 16)(x, document_ids=torch.tensor([[0, 0, 1, 1, 1, 2, 2]]))
    rows = [torch.autograd.grad(output.square().sum(), x, retain_graph=True)[0][0] for output in y[0]]
    picture = ["".join("1" if seen else "." for seen in (row.abs().sum(-1) > 0).tolist()) for row in rows]
    assert picture == ["1......", "11.....", "..1....", "..11...", "..111..", ".....1.", ".....11"]


@pytest.mark.parametrize("width", [2, 6, 16])
def test_rotary_turns_complex_numbers_by_the_position(width):
    torch.manual_seed(0)
    x, positions = torch.randn(2, 3, 5, width), torch.tensor([[0, 1, 2, 3, 4], [0, 1, 0, 17, 31]])
    found = Rotary(width, 32, base=100.0)(x, positions)
    for row, head, place in itertools.product(range(2), range(3), range(5)):
        expected = turned(x[row, head, place], int(positions[row, place]), 100.0)
        torch.testing.assert_close(found[row, head, place], expected, rtol=0, atol=1e-13)


def test_rotary_dot_products_depend_on_differences_of_positions_only():
    torch.manual_seed(0)
    rotary, q, k = Rotary(16, 64), torch.randn(1, 1, 64, 16)[:, :, :1], torch.randn(1, 1, 1, 16)
    everywhere = torch.arange(64)
    queries, keys = (rotary(vector.expand(1, 1, 64, 16), everywhere)[0, 0] for vector in (q, k))
    products = queries @ keys.T
    for difference in range(-63, 64):
        diagonal = products.diagonal(difference)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=0, atol=1e-12)
    assert products[:, 0].std() > 0.1  # and they do depend on them


def test_rotary_leaves_lengths_and_the_first_position_alone():
    torch.manual_seed(0)
    x = torch.randn(1, 2, 8, 16)
    turned_by_position = Rotary(16, 64)(x, torch.arange(8))
    torch.testing.assert_close(turned_by_position.norm(dim=-1), x.norm(dim=-1), rtol=0, atol=1e-12)
    assert torch.equal(turned_by_position[:, :, 0], x[:, :, 0])


def test_a_share_is_turned_like_a_head_of_its_width_and_the_rest_stays():
    torch.manual_seed(0)
    x, positions = torch.randn(2, 3, 5, 16), torch.tensor([[0, 1, 2, 3, 4], [0, 1, 0, 17, 31]])
    for share, width in ((0.125, 2), (0.5, 8), (0.75, 12), (1.0, 16)):
        found, narrow = Rotary(16, 32, base=100.0, share=share)(x, positions), Rotary(width, 32, base=100.0)
        assert torch.equal(found, torch.cat((narrow(x[..., :width], positions), x[..., width:]), dim=-1))


@pytest.mark.parametrize("share", [0.0625, 0.1, 0.3, 0.45])
def test_a_share_that_is_no_even_number_of_a_head_is_refused(share):
    with pytest.raises(ValueError, match=f"^rotary_share={share}: must be an even number of the 16 numbers of a head$"):
        Rotary(16, 32, share=share)


def test_rotary_positions_of_single_precision_are_exact_to_a_thousandth():
    torch.manual_seed(0)
    x, positions = torch.randn(1, 1, 4, 32), torch.tensor([0, 100, 511, 1023])
    exact = Rotary(32, 1024)(x, positions)
    torch.set_default_dtype(torch.float32)
    single = Rotary(32, 1024)(x.float(), positions)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), exact, rtol=0, atol=1e-3)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_rotary_in_half_precision_is_single_precision_rounded(half):
    """Also where all of a model is converted (bf16-true): the tables are not."""
    torch.set_default_dtype(torch.float32)
    attention = CausalAttention(64, 2, 256, rotary=True)
    x, positions = torch.randn(2, 2, 256, 32).to(half), torch.arange(256)
    expected = attention.rotary(x.float(), positions).to(half)
    turned = attention.to(half).rotary(x, positions)
    assert attention.qkv.weight.dtype == turned.dtype == half
    assert torch.equal(turned, expected)
    assert attention.double().rotary.cosine.dtype == torch.float64
