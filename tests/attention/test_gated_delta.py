"""The gated delta rule: chunks give what the recurrence gives, the recurrence what the formula says."""

from functools import partial

import pytest
import torch
from attentions import BLOCK, HEADS, WIDTH, attention_factory, inputs
from gated_delta_parts import IDS, assert_near, gradients, parts
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from frontpage.attention.kernels.delta_kernel import by_kernel, kernel_problem
from frontpage.attention.kernels.delta_rule import chunked, recurrent
from frontpage.attention.parts.unit_vectors import unit

FORMS = {f"chunk {chunk}": partial(chunked, chunk=chunk) for chunk in (1, 4, 16, 64)} | {"cpp": by_kernel}


def by_the_formula(q, k, v, log_decay, log_write, ids=None):
    """S_t = alpha_t (I - beta_t k_t k_t') S_{t-1} + beta_t k_t v_t', o_t = S_t' q_t, one head and token at a time."""
    y = torch.zeros(*q.shape[:3], v.shape[-1], dtype=q.dtype)
    shared = q.shape[1] // k.shape[1]
    for row in range(q.shape[0]):
        for head in range(q.shape[1]):
            own = row, head // shared
            state = torch.zeros(k.shape[-1], v.shape[-1], dtype=q.dtype)
            for t in range(q.shape[2]):
                if ids is not None and t and ids[row, t] != ids[row, t - 1]:
                    state = torch.zeros_like(state)
                key, alpha, beta = k[own][t], log_decay[own][t].exp(), log_write[own][t].exp()
                erased = torch.eye(len(key), dtype=q.dtype) - beta * torch.outer(key, key)
                state = alpha * erased @ state + beta * torch.outer(key, v[own][t])
                y[row, head, t] = state.T @ q[row, head, t]
    return y


@pytest.fixture(params=FORMS.values(), ids=FORMS)
def form(request):
    if request.param is by_kernel and (problem := kernel_problem(8)):
        pytest.skip(f"cpp: {problem}")
    return request.param


@pytest.fixture
def make():
    factory = attention_factory("gated_delta")

    def made(seed=0, **settings):
        torch.manual_seed(seed)
        return factory(**{"d_model": WIDTH, "n_head": HEADS, "block_size": BLOCK, **settings}).eval()

    return made


@pytest.mark.parametrize("ids", [None, IDS], ids=["one document", "documents"])
def test_the_recurrence_is_the_formula(ids):
    given = parts(value_width=5)
    assert_near(recurrent(*given, document_ids=ids)[0], by_the_formula(*given, ids))


@pytest.mark.parametrize("ids", [None, IDS], ids=["one document", "documents"])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_each_form_gives_what_the_recurrence_gives_gradients_too(form, ids, kv_heads):
    given = parts(kv_heads=kv_heads, value_width=5)
    found, expected = form(*given, document_ids=ids), recurrent(*given, document_ids=ids)
    assert_near(found, expected)
    assert_near(gradients(found, given), gradients(expected, given))


def test_a_state_is_continued_and_has_a_gradient(form):
    given = parts()
    state = torch.randn(2, 2, 8, 8, dtype=torch.float64, requires_grad=True)
    found, expected = form(*given, state=state), recurrent(*given, state=state)
    assert_near(found, expected)
    assert_near(gradients(found, [*given, state]), gradients(expected, [*given, state]))
    cut = [[part[:, :, :9] for part in given], [part[:, :, 9:] for part in given]]
    first, halfway = form(*cut[0])
    second, end = form(*cut[1], state=halfway)
    assert_near(torch.cat((first, second), dim=2), form(*given)[0])
    assert_near(end, form(*given)[1])


@pytest.mark.parametrize("ids", [None, torch.tensor([[0, 0, 1, 1, 1, 2, 2]])], ids=["one document", "documents"])
def test_the_gradient_is_that_of_the_outputs(form, ids):
    given = parts(rows=1, heads=2, kv_heads=1, time=7, width=3, value_width=2)
    state = [] if ids is not None else [torch.randn(1, 1, 3, 2, dtype=torch.float64, requires_grad=True)]

    def run(*tensors):
        return form(*tensors[:5], document_ids=ids, state=tensors[5] if tensors[5:] else None)

    assert torch.autograd.gradcheck(run, (*given, *state))


def test_a_document_has_neither_values_nor_gradients_from_another(form):
    given = parts()
    y, _ = form(*given, document_ids=IDS)
    for row in range(2):
        for document in IDS[row].unique():
            own = IDS[row] == document
            alone, _ = form(*(part[row : row + 1, :, own] for part in given))
            assert_near(y[row, :, own], alone[0], within=1e-12)
            for gradient in torch.autograd.grad(y[row, :, own].square().sum(), given, retain_graph=True):
                assert not gradient[row, :, ~own].any()
                assert gradient.isfinite().all()


def test_a_document_is_a_run_of_equal_ids(form):
    given = parts(rows=1, time=9)
    again = torch.tensor([[1, 1, 1, 2, 2, 2, 1, 1, 1]])
    assert_near(form(*given, document_ids=again)[0], by_the_formula(*given, again))
    assert_near(recurrent(*given, document_ids=again)[0], by_the_formula(*given, again))


def test_a_value_written_under_a_key_replaces_the_earlier_one(form):
    """With alpha = beta = 1, reading key a gives the last value written under it, whatever lies under others."""
    a, b = torch.eye(4, dtype=torch.float64)[:2]
    first, second, other, unread = torch.randn(4, 3, dtype=torch.float64)
    keys, values = torch.stack((a, b, a, b)), torch.stack((first, other, second, unread))
    queries, ones = torch.stack((a, b, a, a)), torch.zeros(1, 1, 4, dtype=torch.float64)
    y, state = form(queries[None, None], keys[None, None], values[None, None], ones, ones)
    assert_near(y[0, 0], torch.stack((first, other, second, second)))
    assert_near(state[0, 0, :2], torch.stack((second, unread)))


def test_without_overlap_of_keys_the_decay_is_that_of_linear_attention(form):
    q, _, v, log_decay, log_write = parts(rows=1, heads=1, kv_heads=1, time=8)
    keys = torch.eye(8, dtype=torch.float64)[None, None]
    kept = log_decay.cumsum(-1)[..., :, None] - log_decay.cumsum(-1)[..., None, :]
    expected = (q @ keys.mT * kept.exp() * log_write.exp()[..., None, :]).tril() @ v
    assert_near(form(q, keys, v, log_decay, log_write)[0], expected)


@pytest.mark.parametrize("rate", [30.0, 1e4, torch.inf])
def test_a_decay_to_almost_nothing_stays_finite_in_fp32(form, rate):
    q, k, v, log_decay, log_write = parts(dtype=torch.float32)
    log_decay = (rate * torch.where(torch.arange(23) % 3 == 1, -1.0, -1e-3)).expand_as(log_decay).clone()
    given = [q, k, v, log_decay.requires_grad_(), log_write]
    for found in (form(*given), form(*given, document_ids=IDS)):
        assert all(part.isfinite().all() for part in (*found, *gradients(found, given)))
    assert_near(form(*given), recurrent(*given), within=1e-4)


def test_keys_that_are_almost_alike_stay_precise_in_fp32(form):
    given = parts(time=64, alike=20.0)
    given[3], given[4] = (torch.full_like(given[3], -1e-4).requires_grad_() for _ in range(2))
    single = [part.detach().float().requires_grad_() for part in given]
    expected, found = form(*given), form(*single)
    assert_near([part.double() for part in found], list(expected), within=1e-4)
    for gradient, exact in zip(gradients(found, single), gradients(expected, given), strict=True):
        assert (gradient.double() - exact).abs().max() < 1e-3 * max(1.0, float(exact.abs().max()))


@pytest.mark.parametrize("chunk", [1, 5, 16, 100])
@pytest.mark.parametrize("settings", [{}, {"n_kv_head": 2, "rotary": True, "qk_norm": True}], ids=["plain", "grouped"])
def test_the_layer_gives_the_same_whatever_the_chunk(make, chunk, settings):
    x, expected = inputs(2, 40).double(), make(backend="recurrent", **settings).double()
    found = make(chunk=chunk, backend="chunk", **settings).double()
    assert_near(found(x), expected(x))
    assert_near(found(x[:, :1]), expected(x[:, :1]))


@pytest.mark.parametrize("pieces", [[1] * 20, [7, 13], [5, 1, 1, 6, 7], [20]], ids=str)
@pytest.mark.parametrize("backend", ["auto", "chunk", "recurrent"])
def test_decoding_gives_the_whole_and_keeps_a_state_of_one_size(make, pieces, backend):
    attention, x = make(n_kv_head=2, chunk=4, backend=backend).double(), inputs(3, 20).double()
    cache, found = attention.new_cache(), []
    for piece in x.split(pieces, dim=1):
        found.append(attention(piece, cache=cache))
        assert cache.state[0].numel() == attention.cache_numbers(len(cache)) == 2 * (WIDTH // HEADS) ** 2
    assert_near(torch.cat(found, dim=1), attention(x))
    assert len(cache) == 20


def test_mixed_precision_computes_the_rule_in_fp32(make):
    attention, x = make(), inputs(2, 40).requires_grad_()
    for backend in ("auto", "chunk", "recurrent"):
        attention.backend = backend
        with torch.autocast("cpu", torch.bfloat16):
            y = attention(x, document_ids=torch.arange(80).view(2, 40) // 9)
            y.float().square().sum().backward()  # inside, where autocast would reach the gradient too
        assert y.isfinite().all() and x.grad.isfinite().all()
    given = parts(dtype=torch.float32)
    expected = gradients(chunked(*given, chunk=16), given)
    with torch.autocast("cpu", torch.bfloat16):
        found = gradients(chunked(*given, chunk=16), given)
    assert_near(found, expected, within=0)
    whole = make().bfloat16()(x.bfloat16())
    assert whole.dtype == torch.bfloat16 and whole.isfinite().all()


def test_dropout_drops_what_whole_tokens_write(make):
    attention, x = make(dropout=0.5).train(), inputs(1, 1)
    attention.out = torch.nn.Identity()
    heads = torch.stack([attention(x).unflatten(-1, (HEADS, -1))[0, 0] for _ in range(20)])
    written = heads.abs().sum(-1) > 0
    assert written.any() and not written.all()
    assert torch.equal(heads.abs().amin(-1) > 0, written)


def test_the_decay_keeps_its_own_first_values_in_a_net(make):
    """Between exp(-16 x 0.1) and exp(-1 x 0.001) where the input says nothing, as published."""
    attention = make()
    kept = torch.exp(-attention.log_rate.exp() * F.softplus(attention.step_bias))
    assert (kept > 0.2 - 1e-3).all() and (kept < 0.999 + 1e-6).all()
    assert not any(isinstance(layer, torch.nn.Linear) and layer.bias is not None for layer in [attention.gates])


@pytest.mark.slow
def test_it_runs_where_there_is_no_data(make):
    """The memory estimate traces nets on the meta device or with fake tensors."""
    attention = make().to("meta")
    x, ids = torch.empty(2, 40, WIDTH, device="meta"), torch.zeros(2, 40, dtype=torch.int64, device="meta")
    for documents in (None, ids):
        attention(x, document_ids=documents).sum().backward()
        assert all(weight.grad.shape == weight.shape for weight in attention.parameters())
    with FakeTensorMode():
        attention, x = make(), torch.randn(2, 40, WIDTH)
        for documents in (None, torch.zeros(2, 40, dtype=torch.int64)):
            attention(x, document_ids=documents).sum().backward()
            assert all(weight.grad.shape == weight.shape for weight in attention.parameters())


def test_a_chunk_of_no_tokens_is_refused(make):
    with pytest.raises(ValueError, match="chunk=0"):
        make(chunk=0)


def test_vectors_of_length_one_have_their_numeric_gradient():
    """Also where a vector is as short as what is added to its squared length."""
    x = torch.randn(3, 5, dtype=torch.float64) * torch.tensor([1.0, 1e-3, 30.0], dtype=torch.float64)[:, None]
    x.requires_grad_()
    for eps in (1e-6, 0.5):
        assert_near(unit(x, eps), x / (x.square().sum(-1, keepdim=True) + eps).sqrt(), within=1e-14)
        assert torch.autograd.gradcheck(lambda x, eps=eps: unit(x, eps), (x,), eps=1e-8)
    zeros = torch.zeros(1, 5, dtype=torch.float64, requires_grad=True)
    y = unit(zeros, 1e-6)
    y.sum().backward()
    assert not y.any() and zeros.grad.isfinite().all()
