"""Promises that only a CUDA device can keep: backends that agree, the automatic choice, the estimate of memory."""

import pytest
import torch
import torch._dynamo
from attentions import HEADS, WIDTH, attention_factory, plain_factory
from hydra import compose, initialize_config_dir
from tiny import CONFIGS, architectures, options

from frontpage.attention.kernels.describe import router_of
from frontpage.command.build import build
from frontpage.evaluation.losses import next_token_loss
from frontpage.recipe.parameter_groups import decay_groups
from frontpage.training.memory.estimate import estimate_training

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
    pytest.mark.filterwarnings("default"),  # of the compiler, about the device
]
DEVICE = torch.device("cuda")
ROWS, TIME, LONG = 2, 256, 1024  # heads are WIDTH / HEADS = 16 wide, the least for FlexAttention
TOLERANCE = {torch.bfloat16: 2e-2, torch.float32: 1e-4}


@pytest.fixture(autouse=True)
def compile_afresh():
    """Kernels of one test do not count towards the compiler's limit in the next."""
    yield
    torch.compiler.reset()


def document_ids(time, seed=0):
    """(ROWS, time): documents of unequal lengths."""
    return torch.randint(0, 8, (ROWS, time), generator=torch.Generator().manual_seed(seed)).eq(0).cumsum(1).to(DEVICE)


def layer_of(name, backend, dtype, time):
    """The same weights for every backend."""
    torch.manual_seed(0)
    return attention_factory(name)(WIDTH, HEADS, time, backend=backend).to(DEVICE, dtype)


def outcome(layer, ids, dtype, time):
    """The output, the gradient of the input, and those of all weights in one vector."""
    generator = torch.Generator().manual_seed(1)
    x, direction = (torch.randn(ROWS, time, WIDTH, generator=generator).to(DEVICE, dtype) for _ in range(2))
    x.requires_grad_()
    y = layer(x, document_ids=ids)
    y.backward(direction)
    weights = [weight.grad.flatten() for weight in layer.parameters() if weight.grad is not None]
    found = y.detach(), x.grad, torch.cat(weights)
    assert all(part.isfinite().all() for part in found)
    return [part.float() for part in found]


@pytest.mark.parametrize("documents", [False, True], ids=["one document", "documents"])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("name", options("model/attention"))
def test_backends_agree(name, dtype, documents):
    ids = document_ids(TIME) if documents else None
    offered = plain_factory(name).func.backends
    reference = "math" if "math" in offered else offered[0]
    expected = outcome(layer_of(name, reference, dtype, TIME), ids, dtype, TIME)
    for backend in ("auto", *(one for one in offered if one != reference)):
        layer = layer_of(name, backend, dtype, TIME)
        try:
            router_of(layer).route(TIME, DEVICE, documents=documents)
        except ValueError:
            continue
        found = outcome(layer, ids, dtype, TIME)
        for part, mine, right in zip(("output", "input", "weights"), found, expected, strict=True):
            distance = (mine - right).norm() / right.norm()
            assert distance <= TOLERANCE[dtype], f"{backend} against {reference}, {part}: {distance:.1e}"


@pytest.mark.parametrize("name", options("model/attention"))
def test_backends_agree_on_long_rows_of_other_documents_each_time(name, monkeypatch):
    """Ten batches: no backend may be compiled for each of them, or compute without what it compiles."""
    monkeypatch.setattr(torch._dynamo.config, "fail_on_recompile_limit_hit", True)
    for seed in range(10):
        ids = document_ids(LONG, seed)
        expected = outcome(layer_of(name, "auto", torch.bfloat16, LONG), ids, torch.bfloat16, LONG)
        for backend in {"flex", "chunk"} & {*plain_factory(name).func.backends}:
            found = outcome(layer_of(name, backend, torch.bfloat16, LONG), ids, torch.bfloat16, LONG)
            for part, mine, right in zip(("output", "input", "weights"), found, expected, strict=True):
                distance = (mine - right).norm() / right.norm()
                assert distance <= TOLERANCE[torch.bfloat16], f"{backend} against auto, {part}: {distance:.1e}"


def training_step(net, optimizer, tokens, context, precision):
    """One update, in Lightning's order: the last gradients go between forward and backward pass."""
    with torch.autocast(DEVICE.type, torch.bfloat16, enabled=precision == "bf16-mixed"):
        loss = next_token_loss(net.hidden(tokens, *context), net.head.weight, tokens)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def take_workspaces():
    """Let the libraries of matrix products allocate what they keep, forward and backward, in both precisions."""
    for dtype in (torch.float32, torch.bfloat16):
        linear = torch.nn.Linear(512, 512, device=DEVICE, dtype=dtype)
        linear(torch.ones(1024, 512, device=DEVICE, dtype=dtype, requires_grad=True)).sum().backward()


@pytest.mark.parametrize("documents", [False, True], ids=["one document", "documents"])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("model", architectures())
def test_the_estimate_is_near_the_allocators_peak(model, precision, documents):
    overrides = [f"model={model}", "model/attention=causal", "optimizer=adamw", "data.block_size=256"]
    with initialize_config_dir(str(CONFIGS)):
        config = compose("train", overrides=["paths.run_dir=unused", *overrides])
    take_workspaces()
    before = torch.cuda.memory_allocated()
    module = build(config.model, "model", vocab_size=16_000).to(DEVICE)
    net, sizes = module.net.train(), {"precision": precision, "document_mask": documents}
    estimated = estimate_training(net, module.make_optimizer, 16, 256, **sizes).total
    optimizer = module.make_optimizer(decay_groups(net, 0.1))
    tokens = torch.randint(3, 16_000, (16, 256), device=DEVICE)
    places = torch.arange(256, device=DEVICE).expand(16, -1)
    context = (places // 16, places % 16) if documents else ()
    training_step(net, optimizer, tokens, context, precision)  # makes the optimizer's state
    torch.cuda.reset_peak_memory_stats()
    training_step(net, optimizer, tokens, context, precision)
    assert estimated == pytest.approx(torch.cuda.max_memory_allocated() - before, rel=0.15)


def test_a_run_compiles_its_step_by_itself(command):
    outcome = command("experiment=quickstart", "debug=fast", "trainer=gpu", "model.compile=auto")
    assert outcome.status == 0, outcome.stderr
    assert "model.compile=auto: the first step compiles" in outcome.stdout
