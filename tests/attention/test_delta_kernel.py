"""The compiled kernel of the gated delta rule, and what happens where nothing can be compiled."""

import stat

import pytest
import torch
from attentions import BLOCK, HEADS, WIDTH, attention_factory, inputs
from gated_delta_parts import IDS, assert_near, gradients, parts

from frontpage.attention.kernels import delta_kernel
from frontpage.attention.kernels.delta_kernel import by_kernel, kernel_problem
from frontpage.attention.kernels.delta_rule import recurrent
from frontpage.command.notices import forget_notices, notices
from frontpage.machine import compiler as cpp
from frontpage.machine.as_gpu import as_on_card

CPU = torch.device("cpu")


@pytest.fixture
def kernel():
    if problem := kernel_problem(8):
        pytest.skip(problem)


@pytest.fixture
def make():
    factory = attention_factory("gated_delta")

    def made(**settings):
        torch.manual_seed(0)
        return factory(**{"d_model": WIDTH, "n_head": HEADS, "block_size": BLOCK, **settings}).eval()

    return made


@pytest.fixture
def no_compiler(monkeypatch):
    """As in a fresh process without one; what is compiled already counts again afterwards."""

    def compiled(source, **values):
        raise cpp.NotCompiled("no C++ compiler is installed")

    delta_kernel._problem.cache_clear()
    forget_notices()
    monkeypatch.setattr(delta_kernel, "compiled", compiled)
    yield
    delta_kernel._problem.cache_clear()
    forget_notices()


@pytest.mark.slow
@pytest.mark.parametrize(("width", "value_width"), [(1, 1), (3, 5), (16, 16), (24, 8), (64, 64)])
@pytest.mark.parametrize("time", [1, 16, 17, 45])
def test_any_widths_and_lengths_give_what_the_recurrence_gives(kernel, width, value_width, time):
    given = parts(time=time, width=width, value_width=value_width)
    found, expected = by_kernel(*given), recurrent(*given)
    assert_near(found, expected)
    assert_near(gradients(found, given), gradients(expected, given))


@pytest.mark.slow
def test_tensors_may_lie_in_memory_as_they_like(kernel):
    """Heads beside each other as a layer splits them, in columns, and a gradient that is one number everywhere."""
    given = parts()
    expected = recurrent(*given)
    wanted = torch.autograd.grad(expected[0].sum(), given)
    for turn in ((1, 2), (2, 3)):
        turned = [
            part.detach().transpose(*turn).contiguous().transpose(*turn).requires_grad_() for part in given[:3]
        ] + [part.detach().transpose(1, 2).contiguous().transpose(1, 2).requires_grad_() for part in given[3:]]
        found = by_kernel(*turned)
        assert_near(found, expected)
        assert_near(torch.autograd.grad(found[0].sum(), turned), wanted)


@pytest.mark.slow
def test_a_gradient_may_come_from_the_last_state_alone(kernel):
    given = parts()[1:]
    q = torch.zeros(2, 4, 23, 8, dtype=torch.float64)
    found, expected = by_kernel(q, *given)[1], recurrent(q, *given)[1]
    assert_near(gradients([found], given), gradients([expected], given))


@pytest.mark.slow
def test_it_leaves_its_inputs_alone(kernel):
    given = parts()
    state = torch.randn(2, 2, 8, 8, dtype=torch.float64, requires_grad=True)
    before = [part.detach().clone() for part in (*given, state)]
    gradients(by_kernel(*given, document_ids=IDS, state=state), [*given, state])
    assert_near([part.detach() for part in (*given, state)], before, within=0)


@pytest.mark.parametrize("place", range(6))
@pytest.mark.parametrize("change", [torch.Tensor.float, lambda part: part[:, :1], lambda part: part[:, :, :5]])
def test_tensors_that_do_not_fit_are_refused(place, change):
    """The kernel would read what is not theirs."""
    given = [part.detach() for part in parts()] + [torch.randn(2, 2, 8, 8, dtype=torch.float64)]
    given[place] = change(given[place])
    with pytest.raises(ValueError, match="does not fit|no multiple"):
        by_kernel(*given[:5], state=given[5])


def test_the_bits_do_not_depend_on_the_threads(kernel):
    given, threads = parts(rows=5, dtype=torch.float32), torch.get_num_threads()
    results = []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            found = by_kernel(*given)
            results.append([*found, *gradients(found, given)])
    finally:
        torch.set_num_threads(threads)
    assert_near(results[1], results[0], within=0)
    assert_near(results[2], results[0], within=0)


@pytest.mark.slow
def test_it_is_an_operation_that_pytorch_can_trace(kernel):
    q, k, v, log_decay, log_write = (part.detach() for part in parts())
    state = torch.randn(2, 2, 8, 8, dtype=torch.float64)
    given = [part.requires_grad_() for part in (q, k, v, log_decay.exp(), log_write.exp(), state)]
    torch.library.opcheck(torch.ops.frontpage.delta_rule.default, given)
    columns = [part.detach().mT.contiguous().mT.requires_grad_() for part in given[:3]]
    torch.library.opcheck(torch.ops.frontpage.delta_rule.default, [*columns, *given[3:]])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # by the compiler itself
def test_a_compiled_layer_gives_the_same(kernel, make):
    attention, x = make(), inputs(2, 40)
    ids = torch.arange(80).view(2, 40) // 9
    weights = [weight for weight in attention.parameters() if weight.requires_grad]
    expected = attention(x, document_ids=ids)
    found = torch.compile(attention, backend="aot_eager", fullgraph=True)(x, document_ids=ids)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradients([found], weights), gradients([expected], weights), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_auto_takes_it_on_a_cpu_for_heads_that_are_narrow_enough(kernel, make):
    assert make().route(BLOCK, CPU) == "cpp"
    assert make(d_model=256, n_head=2).route(BLOCK, CPU) == "chunk"
    for backend in ("auto", "cpp"):
        wide = make(d_model=256, n_head=2, backend=backend)
        assert wide(torch.randn(1, 3, 256)).isfinite().all()
    assert make().route(BLOCK, torch.device("cuda")) == "chunk"
    with as_on_card():
        assert make().route(BLOCK, CPU) == "chunk"
    with pytest.raises(ValueError, match="backend=cpp: for the CPU only; allowed here: auto chunk recurrent"):
        make(backend="cpp").route(BLOCK, torch.device("cuda"))


def test_without_a_compiler_auto_takes_chunks_and_says_so(no_compiler, make):
    attention = make()
    assert attention.route(BLOCK, CPU) == "chunk" and attention.route(1, CPU) == "recurrent"
    said = "model.attention.backend=auto: gated_delta without its faster kernel: no C++ compiler is installed"
    assert notices() == [said]
    with pytest.raises(
        ValueError, match="backend=cpp: no C.. compiler is installed; allowed here: auto chunk recurrent"
    ):
        make(backend="cpp").route(BLOCK, CPU)


def script(folder, text):
    """A program in place of a compiler."""
    path = folder / "my compiler"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return f"'{path}' --quiet"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("echo first >&2; echo 'rule.cpp:3:1: error: no such thing' >&2; exit 1", "rule.cpp:3:1: error: no such thing"),
        ("exit 3", "status 3"),
        ("exit 0", "cannot be kept or loaded"),
        (r"printf '\n\377 error\n' >&2; exit 1", "error"),
    ],
)
def test_a_compiler_that_fails_is_named_with_its_first_error(monkeypatch, tmp_path, text, problem):
    monkeypatch.setenv("CXX", script(tmp_path, text))
    with pytest.raises(cpp.NotCompiled, match="my compiler.*" + problem) as raised:
        cpp.compiled(delta_kernel.SOURCE, REAL="float", KEY_WIDTH=2, VALUE_WIDTH=2, MARK=77)
    assert "\n" not in str(raised.value)


def test_a_compiler_that_hangs_is_given_up(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", script(tmp_path, "exec sleep 60"))
    monkeypatch.setattr(cpp, "SECONDS", 0.0)
    with pytest.raises(cpp.NotCompiled, match="my compiler takes more than 0 seconds$"):
        cpp.compiled(delta_kernel.SOURCE, REAL="float", KEY_WIDTH=2, VALUE_WIDTH=2, MARK=76)


def test_a_compiler_that_is_not_there_is_said(monkeypatch, tmp_path):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        cpp.NotCompiled, match=r"no C\+\+ compiler is installed \(CXX, or one of c\+\+ g\+\+ clang\+\+\)"
    ):
        cpp.compiled(delta_kernel.SOURCE, REAL="float", KEY_WIDTH=2, VALUE_WIDTH=2, MARK=78)
    monkeypatch.setenv("CXX", "/no/such/compiler")
    with pytest.raises(cpp.NotCompiled, match="/no/such/compiler fails"):
        cpp.compiled(delta_kernel.SOURCE, REAL="float", KEY_WIDTH=2, VALUE_WIDTH=2, MARK=78)
    monkeypatch.setenv("CXX", "g++ '-g")
    with pytest.raises(cpp.NotCompiled, match="CXX=g.. '-g: No closing quotation"):
        cpp.compiler()


def test_without_a_folder_for_temporary_files_nothing_is_compiled(kernel, monkeypatch):
    def gone():
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(cpp.tempfile, "gettempdir", gone)
    with pytest.raises(cpp.NotCompiled, match="cannot be kept or loaded .No usable temporary directory found"):
        cpp.compiled(delta_kernel.SOURCE, REAL="float", KEY_WIDTH=2, VALUE_WIDTH=2, MARK=79)
