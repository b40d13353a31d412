"""Attention over listed keys, by the compiled kernel and in chunks, against plain softmax attention under a mask."""

from functools import partial

import pytest
import torch
from attentions import HEADS, WIDTH, attention_factory, inputs

from frontpage.attention.fixed import Fixed
from frontpage.attention.kernels import gathered_keys, listed_chunks, listed_kernel, sparsek_choice
from frontpage.attention.kernels.gathered_keys import gathered
from frontpage.attention.kernels.listed_chunks import in_chunks
from frontpage.attention.kernels.listed_kernel import NONE, by_kernel, kernel_problem
from frontpage.attention.kernels.listed_keys import ListedKeys, list_keys
from frontpage.attention.local import Local
from frontpage.attention.parts.documents import places_in_documents
from frontpage.attention.parts.softmax import softmax_attention
from frontpage.attention.sliding_window import SlidingWindow
from frontpage.attention.strided import Strided
from frontpage.command.notices import forget_notices, notices
from frontpage.machine import compiler as cpp
from frontpage.machine.as_gpu import as_on_card

CPU = torch.device("cpu")
PATTERNS = [
    [Local(1)],
    [Local(3)],
    [Local(100)],
    [Local(4), Strided(4)],
    [Strided(1)],
    [Strided(5)],
    [Fixed(4, 1), Fixed(4, 1, 1)],
    [Fixed(6, 2, 2)],
    [Fixed(8, 2, 2 * group) for group in range(4)],
    [SlidingWindow(3, 0)],
    [SlidingWindow(2, 4)],
    [SlidingWindow(20, 13)],
]
VARIANTS = {
    "local": {},
    "strided": {},
    "strided alone": {"alternate": "none"},
    "fixed": {},
    "sliding_window": {},
    "sparsek": {},
    "sparsek soft": {"gate": "soft"},
    "sparsek hard": {"gate": "hard"},
}


@pytest.fixture
def kernel():
    if problem := kernel_problem(6):
        pytest.skip(problem)


@pytest.fixture
def no_compiler(monkeypatch):
    """As in a fresh process without one; what is compiled already counts again afterwards."""

    def compiled(source, **values):
        raise cpp.NotCompiled("no C++ compiler is installed")

    modules = listed_kernel, sparsek_choice
    for module in modules:
        module._problem.cache_clear()
        monkeypatch.setattr(module, "compiled", compiled)
    forget_notices()
    yield
    for module in modules:
        module._problem.cache_clear()
    forget_notices()


def normal(*shape, seed=0, scale=1.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def heads(time, kv_heads=2, width=6, earlier=0, scale=1.0, rows=2):
    """q (B, 4, T, D), k and v (B, Hkv, earlier + T, D), each with a gradient."""
    shapes = [(4, time), (kv_heads, earlier + time), (kv_heads, earlier + time)]
    return [normal(rows, *shape, width, seed=seed, scale=scale).requires_grad_() for seed, shape in enumerate(shapes)]


def documents(time, seed=0):
    """Ids (2, T) of documents of a few tokens, of one token each, and what is left."""
    lengths = torch.randint(1, 12, (2, time), generator=torch.Generator().manual_seed(seed))
    lengths[0, 1:4] = 1
    return torch.stack([torch.repeat_interleave(torch.arange(time), row)[:time] for row in lengths])


def mask_of(patterns, time, ids):
    """(1 or B, P, T, T) by the patterns themselves."""
    place = torch.arange(time)[None] if ids is None else places_in_documents(ids)
    seen = torch.stack([pattern(place[:, :, None], place[:, None]) for pattern in patterns], dim=1)
    together = torch.ones(time, time, dtype=torch.bool).tril()
    return seen & (together if ids is None else together & (ids[:, None, :, None] == ids[:, None, None]))


def with_gradients(y, given, seed=9):
    return [y.detach(), *torch.autograd.grad(y, given, normal(*y.shape, seed=seed).to(y.dtype))]


def assert_near(found, expected, within=1e-12):
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=within)


@pytest.mark.parametrize("patterns", PATTERNS, ids=str)
@pytest.mark.parametrize("packed", [False, True], ids=["one document", "documents"])
def test_lists_show_what_the_patterns_show(patterns, packed):
    for time in (1, 2, 13, 64, 101):
        ids = documents(time) if packed else None
        keys, expected = list_keys(patterns, time, ids, CPU), mask_of(patterns, time, ids).transpose(0, 1)
        assert torch.equal(keys.mask(0, time), expected)
        begin = time // 3
        assert torch.equal(keys.mask(begin, time - begin), expected[:, :, begin : time - begin, : time - begin])


@pytest.mark.parametrize("run", [by_kernel, in_chunks])
@pytest.mark.parametrize("patterns", PATTERNS, ids=str)
@pytest.mark.parametrize("packed", [False, True], ids=["one document", "documents"])
def test_both_ways_give_what_a_mask_gives_and_its_gradients(kernel, monkeypatch, run, patterns, packed):
    monkeypatch.setattr(listed_chunks, "PAIRS_AT_ONCE", 3000)
    for time, kv_heads in ((1, 4), (2, 1), (33, 2), (101, 4), (101, 1)):
        ids, given = documents(time) if packed else None, heads(time, kv_heads)
        mask = mask_of(patterns, time, ids).repeat_interleave(4 // len(patterns), dim=1)
        expected = with_gradients(softmax_attention(*given, mask=mask), given)
        assert_near(with_gradients(run(*given, list_keys(patterns, time, ids, CPU)), given), expected)


@pytest.mark.slow
@pytest.mark.parametrize("width", [1, 2, 4, 7, 8, 16, 33, 64])
def test_any_width_of_heads_and_single_precision(kernel, width):
    given, keys = heads(40, width=width), list_keys([SlidingWindow(5, 2)], 40, None, CPU)
    expected = with_gradients(softmax_attention(*given, mask=keys.mask(0, 40)), given)
    assert_near(with_gradients(by_kernel(*given, keys), given), expected)
    single = [part.detach().float().requires_grad_() for part in given]
    found = with_gradients(by_kernel(*single, keys), single)
    assert all(part.dtype == torch.float32 for part in found)
    assert_near([part.double() for part in found], expected, within=1e-5)


def test_half_precision_is_computed_in_single(kernel):
    given, keys = heads(40, width=8), list_keys([Local(7)], 40, None, CPU)
    half = [part.detach().bfloat16().requires_grad_() for part in given]
    for run in (by_kernel, in_chunks):
        y = run(*half, keys)
        y.float().sum().backward()
        expected = softmax_attention(*(part.float() for part in half), mask=keys.mask(0, 40)[0])
        assert y.dtype == half[0].grad.dtype == torch.bfloat16
        torch.testing.assert_close(y.float(), expected, rtol=0, atol=0.02)


@pytest.mark.parametrize("scale", [1e-3, 30.0, 1e4])
def test_weights_of_any_spread_neither_overflow_nor_lose_their_sum(kernel, scale):
    """Products up to 1e8 apart: most weights are exactly 0."""
    given, keys = heads(50, scale=scale), list_keys([Strided(3)], 50, None, CPU)
    expected = softmax_attention(*given, mask=keys.mask(0, 50))
    for dtype, within in ((torch.float64, 1e-11), (torch.float32, 1e-4)):
        found = by_kernel(*(part.to(dtype) for part in given), keys).double()
        torch.testing.assert_close(found / scale, expected / scale, rtol=0, atol=within)


@pytest.mark.parametrize("run", [by_kernel, partial(gathered, window=3), partial(gathered, window=10**9)])
@pytest.mark.parametrize("soft", [False, True])
def test_chosen_keys_are_seen_beside_the_near_ones_with_their_gates(kernel, monkeypatch, run, soft):
    """Of 9 earlier and 20 own tokens: lists of different lengths, whose unused columns hold other tokens."""
    monkeypatch.setattr(gathered_keys, "NUMBERS_AT_ONCE", 1000 if soft else 10_000)  # queries, or rows, at once
    given, generator = heads(20, earlier=9), torch.Generator().manual_seed(3)
    count = torch.randint(0, 6, (1, 2, 20), generator=generator, dtype=torch.int32)
    far = torch.stack([torch.randperm(6, generator=generator)[:5].sort().values for _ in range(40)]).view(2, 20, 5)
    near = (torch.arange(9, 29) - torch.arange(20) % 3).expand(1, 2, 20).int()
    keys = ListedKeys(near, count, count, (1,), (1,), far.int())
    gates = torch.rand(2, 20, 5, generator=generator, dtype=torch.float64) if soft else None
    own, token = torch.arange(9, 29)[:, None], torch.arange(29)
    mask, factors = (token >= near[0][..., None]) & (token <= own), torch.ones(2, 20, 29, dtype=torch.float64)
    for row, query in torch.cartesian_prod(torch.arange(2), torch.arange(20)).tolist():
        for place in range(count[0, row, query]):
            mask[row, query, far[row, query, place]] = True
            if soft:
                factors[row, query, far[row, query, place]] = gates[row, query, place]
    q, k, v = (part.repeat_interleave(4 // part.shape[1], dim=1) for part in given)
    weights = (q @ k.mT / 6**0.5).masked_fill(~mask[:, None], -torch.inf).softmax(-1)
    expected = with_gradients((weights * factors[:, None]) @ v, given)
    y = run(*given, keys, gates)
    found = (
        with_gradients(y, given) if run is not by_kernel or not soft else [y.detach()]
    )  # gated, others have the gradient
    assert_near(found, expected[: len(found)])


def test_tensors_may_lie_in_memory_as_they_like(kernel):
    """Heads beside each other as a layer splits them, in columns, and a gradient that is one number everywhere."""
    given, keys = heads(30), list_keys([Local(4), Strided(4)], 30, None, CPU)
    expected = by_kernel(*given, keys)
    wanted = torch.autograd.grad(expected.sum(), given)
    for turn in ((1, 2), (2, 3), (0, 1)):
        turned = [part.detach().transpose(*turn).contiguous().transpose(*turn).requires_grad_() for part in given]
        found = by_kernel(*turned, keys)
        assert_near([found, *torch.autograd.grad(found.sum(), turned)], [expected, *wanted])
    wide = normal(2, 30, 8 * 6).requires_grad_()
    parts = [part.unflatten(-1, (-1, 6)).transpose(1, 2) for part in wide.split([24, 12, 12], dim=-1)]
    mask = mask_of([Local(4), Strided(4)], 30, None).repeat_interleave(2, dim=1)
    expected = with_gradients(softmax_attention(*parts, mask=mask), [wide])
    assert_near(with_gradients(by_kernel(*parts, keys), [wide]), expected)


def test_it_leaves_its_inputs_alone(kernel):
    given, keys = heads(30), list_keys([Fixed(6, 2)], 30, documents(30), CPU)
    before = [part.detach().clone() for part in given]
    with_gradients(by_kernel(*given, keys), given)
    assert_near([part.detach() for part in given], before, within=0)


@pytest.mark.slow
def test_the_gradient_is_the_numeric_one(kernel):
    given, keys = heads(9, width=3), list_keys([SlidingWindow(2, 1)], 9, documents(9), CPU)
    torch.autograd.gradcheck(lambda *parts: by_kernel(*parts, keys), given)


@pytest.mark.parametrize("patterns", [[Local(5)], [Local(4), Strided(4)]], ids=str)
def test_the_bits_do_not_depend_on_the_threads(kernel, patterns):
    given, threads = [part.detach().float().requires_grad_() for part in heads(90, rows=5)], torch.get_num_threads()
    keys, results = list_keys(patterns, 90, None, CPU), []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            results.append(with_gradients(by_kernel(*given, keys), given))
    finally:
        torch.set_num_threads(threads)
    assert_near(results[1], results[0], within=0)
    assert_near(results[2], results[0], within=0)


@pytest.mark.slow
def test_it_is_an_operation_that_pytorch_can_trace(kernel):
    keys, given = list_keys([Local(4), Strided(4)], 20, None, CPU), heads(20)
    lists = keys.near, keys.first, keys.count, None, None
    operation = torch.ops.frontpage.listed_attention.default
    torch.library.opcheck(operation, [*given, *lists, NONE, keys.lengths, keys.periods])
    columns = [part.detach().mT.contiguous().mT.requires_grad_() for part in given]
    torch.library.opcheck(operation, [*columns, *lists, NONE, keys.lengths, keys.periods])


@pytest.mark.parametrize(
    "change",
    [
        lambda q, k, v, keys: (q, k[:, :, :5], v, keys),
        lambda q, k, v, keys: (q, k, v[:1], keys),
        lambda q, k, v, keys: (q[:, :3], k, v, keys),
        lambda q, k, v, keys: (q[..., :2], k, v, keys),
        lambda q, k, v, keys: (q, k, v, list_keys([Local(3)], 19, None, CPU)),
        lambda q, k, v, keys: (q, k, v, list_keys([Local(3)] * 3, 20, None, CPU)),
        lambda q, k, v, keys: (q, k, v, ListedKeys(keys.near.long(), keys.first, keys.count, (1,), (1,))),
        lambda q, k, v, keys: (q, k, v, keys, torch.ones(2, 20, 3)),
        lambda q, k, v, keys: (q, k, v, ListedKeys(*lists(keys), (1,), (1,), torch.zeros(2, 19, 3).int())),
    ],
)
def test_what_does_not_fit_is_refused(kernel, change):
    """The kernel would read what is not theirs."""
    with pytest.raises(ValueError, match="fit|multiple|not of|one for each|int32"):
        by_kernel(*change(*(part.detach() for part in heads(20)), list_keys([Local(3)], 20, None, CPU)))


def lists(keys):
    return keys.near, keys.first, keys.count


# The layers that take it.


def layer(variant, length, **settings):
    torch.manual_seed(0)
    factory = attention_factory(variant.split()[0])
    return factory(WIDTH, HEADS, length, **VARIANTS[variant], **settings)


@pytest.mark.slow
def test_auto_takes_lists_where_they_were_measured_to_be_faster(kernel):
    def route(variant, length, documents=False, device=CPU, **settings):
        return layer_paths(layer(variant, 512, **settings)).route(length, device, documents=documents)

    assert [route("sparsek", length) for length in (8, 64, 512)] == ["sdpa", "cpp", "cpp"]
    assert [route("sparsek soft", length) for length in (8, 64)] == ["math", "cpp"]
    assert [route("fixed", length) for length in (64, 256, 512, 4096)] == ["sdpa", "reshape", "cpp", "cpp"]
    assert [route("fixed", length, True) for length in (64, 128, 512)] == ["sdpa", "cpp", "cpp"]
    assert [route("local", length) for length in (256, 512)] == ["reshape", "cpp"]
    assert [route("sliding_window", length) for length in (64, 128)] == ["sdpa", "cpp"]
    assert route("strided", 512) == "cpp"
    assert [route("strided alone", 4096, packed) for packed in (False, True)] == ["reshape", "cpp"]
    for variant in VARIANTS:
        assert route(variant, 512, device=torch.device("cuda")) not in ("cpp", "chunk"), variant
        assert route(variant, 512, dropout=0.1) not in ("cpp", "sdpa", "math"), variant
        with as_on_card():
            assert route(variant, 512) not in ("cpp", "chunk"), variant
    with pytest.raises(ValueError, match="backend=cpp: no dropout, and attention_dropout=0.1; allowed here: auto "):
        route("local", 64, dropout=0.1, backend="cpp")
    with pytest.raises(ValueError, match="backend=cpp: for the CPU only; allowed here: auto "):
        route("sparsek", 64, device=torch.device("cuda"), backend="cpp")


def layer_paths(attention):
    return attention.paths if hasattr(attention, "paths") else attention


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("packed", [False, True], ids=["one document", "documents"])
@pytest.mark.parametrize("compiled", [True, False], ids=["kernel", "no compiler"])
def test_no_tensor_of_every_query_and_key_is_kept(request, monkeypatch, variant, packed, compiled):
    """Neither for the backward pass nor with the layer; a stride's parts, T / stride square, are what is seen."""
    time = 1024
    request.getfixturevalue("kernel" if compiled else "no_compiler")
    attention, ids = layer(variant, time).train(), documents(time) if packed else None
    kept = {}

    def keep(tensor):
        kept[id(tensor)] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y = attention(inputs(2, time).float(), document_ids=ids)
    y.square().sum().backward()
    sizes = [tensor.numel() for tensor in kept.values()] + [part.numel() for part in attention.buffers()]
    assert max(sizes) < time * time
    if not packed and variant == "strided alone":
        return
    assert sum(tensor.untyped_storage().nbytes() for tensor in kept.values()) < 64 * 1024 * time


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("packed", [False, True], ids=["one document", "documents"])
def test_without_a_compiler_long_rows_are_computed_in_parts_and_that_is_said(no_compiler, variant, packed):
    attention = layer(variant, 512)
    name = variant.split()[0]
    said = [f"model.attention.backend=auto: {name} without its faster kernel: no C++ compiler is installed"]
    taken = layer_paths(attention).route(512, CPU, documents=packed)
    parts = variant == "local" or (variant in ("strided", "strided alone") and not packed)
    assert taken == ("reshape" if parts else "chunk")
    assert notices() == ([] if variant == "strided alone" and not packed else said)
    layer(variant, 512)
    with pytest.raises(ValueError, match="backend=cpp: no C.. compiler is installed; allowed here: auto "):
        layer_paths(layer(variant, 512, backend="cpp")).route(512, CPU)


@pytest.mark.parametrize("length", [64, 256])
def test_without_a_compiler_short_rows_of_sparsek_are_told_of_too(no_compiler, length):
    assert layer("sparsek", length).route(length, CPU) in ("sdpa", "math")
    assert notices() == [
        "model.attention.backend=auto: sparsek without its faster kernel: no C++ compiler is installed"
    ]


@pytest.mark.parametrize("place", ["a query", "a key", "an infinite score"])
def test_what_is_no_number_stays_none(kernel, place):
    """The kernel's exponential and its largest score hide no NaN: values are finite, so only the scores tell."""
    q, k, v = (part.detach().clone() for part in heads(40))
    part, value = {"a query": (q, torch.nan), "a key": (k, torch.nan), "an infinite score": (k, torch.inf)}[place]
    part[0, :, 7] = value
    keys = list_keys([Local(12)], 40, None, CPU)
    found = by_kernel(q, k, v, keys)[0].isnan()
    sees = torch.arange(40) == 7 if part is q else keys.mask(0, 40)[0, 0, :, 7]
    assert 0 < sees.sum() < 40 and torch.equal(found, sees[:, None].expand_as(found))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("packed", [False, True], ids=["one document", "documents"])
def test_long_rows_give_the_references_numbers_and_gradients(kernel, variant, packed):
    torch.set_default_dtype(torch.float64)
    try:
        x, ids, found = inputs(2, 531), documents(531) // 9 if packed else None, []
        for backend in ("auto", "math"):
            attention = layer(variant, 531, n_kv_head=2, backend=backend)
            given = x.clone().requires_grad_()
            weights = [given, *(weight for weight in attention.parameters() if weight.requires_grad)]
            found.append(with_gradients(attention(given, document_ids=ids), weights))
    finally:
        torch.set_default_dtype(torch.float32)
    assert_near(*found, within=1e-10)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # by the compiler itself
@pytest.mark.parametrize("variant", ["fixed", "sparsek"])
def test_a_compiled_layer_gives_the_same(kernel, variant):
    attention, x, ids = layer(variant, 128), inputs(2, 128).requires_grad_(), documents(128)
    weights = [x, *attention.parameters()]
    expected = with_gradients(attention(x, document_ids=ids), weights)
    found = torch.compile(attention, backend="aot_eager", fullgraph=True)(x, document_ids=ids)
    assert_near(with_gradients(found, weights), expected, within=2e-4)
