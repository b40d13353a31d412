"""`model.compile=true` compiles what a training step runs, as one graph, and changes no result."""

import shutil

import pytest
import torch
from torch._dynamo.utils import counters

from frontpage.build import build
from frontpage.data.packing import TitleBatch

SMALL = ("data=synthetic", "data.block_size=32", "model.d_model=32", "model.n_layer=1", "model.dropout=0")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch imports torch.jit for itself
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
@pytest.mark.parametrize("settings", [("model.n_head=4",), ("model.n_head=2", "model/attention=strided")])
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
