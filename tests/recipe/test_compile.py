"""`model.compile=true` compiles what a training step runs, as one graph, and changes no result; `auto` is for CUDA."""

import shutil

import lightning as L
import pytest
import torch
from tiny import options
from torch._dynamo.utils import counters

from frontpage.command.build import build
from frontpage.command.errors import UserError
from frontpage.command.notices import forget_notices, notices
from frontpage.data.packing import TitleBatch
from frontpage.recipe import compiling

SMALL = ("data=synthetic", "data.block_size=32", "model.d_model=32", "model.n_layer=1", "model.dropout=0")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch imports torch.jit for itself
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
@pytest.mark.parametrize(
    "settings",
    [
        ("model.n_head=4",),
        ("model.n_head=2", "model/attention=strided"),
        ("model.n_head=2", "model/attention=gated_delta"),
        (
            *("model.n_head=2", "model.positions=rotary", "model.rotary_share=0.5"),
            "model/addition=[value_embeddings,head_gate,exclusive,shifted_keys]",
        ),
    ],
)
def test_a_compiled_training_step_is_one_graph_and_gives_what_the_plain_one_gives(config, settings):
    module = build(config(*SMALL, *settings, "model.compile=true").model, "model", vocab_size=100).train()
    tokens = torch.randint(0, 100, (4, 32), generator=torch.Generator().manual_seed(0))
    ids = torch.arange(32).div(8, rounding_mode="floor").expand(4, 32).contiguous()
    batch = TitleBatch(tokens, tokens, ids, torch.arange(32).remainder(8).expand(4, 32).contiguous())

    def results():
        module.zero_grad()
        hidden = module.hidden(batch)
        hidden.square().mean().backward()
        return [hidden.detach(), *(weight.grad.clone() for weight in module.net.parameters())]

    expected = results()
    counters.clear()
    module.configure_model()
    found = results()
    assert counters["stats"]["unique_graphs"] == 1 and not counters["graph_break"]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    counters.clear()
    module.eval().hidden(batch)
    assert not counters["stats"], "validation is not compiled: its shapes vary"


@pytest.mark.parametrize(
    ("device", "triton", "capability", "expected"),
    [
        ("cpu", True, (9, 0), False),
        ("mps", True, (9, 0), False),
        ("cuda", True, (9, 0), True),
        ("cuda", True, (6, 1), False),
        ("cuda", False, (9, 0), False),
    ],
)
def test_auto_compiles_on_cuda_where_triton_can_and_says_so(monkeypatch, device, triton, capability, expected):
    monkeypatch.setattr(compiling.importlib.util, "find_spec", lambda name: object() if triton else None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    forget_notices()
    assert compiling.worth_compiling(torch.device(device)) is expected
    assert any("model.compile=auto" in said for said in notices()) == (device == "cuda")


@pytest.mark.parametrize("model", options("model"))
def test_every_architecture_asks_by_default_and_a_cpu_stays_as_it_is(config, model):
    module = build(config(*SMALL, f"model={model}", "model.n_head=4").model, "model", vocab_size=100)
    assert module.compile_net == compiling.AUTO
    module.trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    module.configure_model()
    assert module.train().trunk == module.net.hidden


@pytest.mark.parametrize(("word", "expected"), [("true", True), ("false", False), ("auto", "auto")])
def test_what_is_asked_for_is_what_the_module_has(config, word, expected):
    module = build(config(*SMALL, f"model.compile={word}").model, "model", vocab_size=100)
    assert module.compile_net == expected and type(module.compile_net) is type(expected)


def test_another_word_is_refused(config):
    with pytest.raises(UserError, match=r"model\.compile=maybe: true, false or auto"):
        build(config(*SMALL, "model.compile=maybe").model, "model", vocab_size=100)


def test_a_cpu_without_a_compiler_is_refused_before_the_run(monkeypatch, tmp_path):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"model\.compile=true: no C\+\+ compiler is installed .*; false or auto"):
        compiling.check_compiles(torch.device("cpu"))
    compiling.check_compiles(torch.device("cuda"))
