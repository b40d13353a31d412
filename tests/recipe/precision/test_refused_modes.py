"""Promises of what a precision mode refuses: one or two lines that name the keys, before anything is built."""

import sys

import pytest
from precision_modes import needs_torchao
from tiny import TINY, composed, options

from frontpage.attention.causal import CausalAttention
from frontpage.command.build import build
from frontpage.command.errors import UserError

RUN = [one for one in TINY if "precision" not in one]
CONTRADICTIONS = {
    "Lightning's": (["precision=bf16", "trainer.precision=32-true"], ["trainer.precision=32-true", "precision=bf16"]),
    "fp16 on a CPU": (["precision=fp16"], ["precision=fp16", "16-mixed", "a CPU has", "bf16-mixed"]),
    "fp8 without its GPU": (["precision=fp8"], ["precision=fp8", "H100", "no CUDA GPU"]),
    "muon": (["precision=int8_optim", "optimizer=muon"], ["precision=int8_optim", "optimizer=muon", "optimizer=adamw"]),
    "amsgrad": (["precision=int8_optim", "optimizer.amsgrad=true"], ["precision=int8_optim", "optimizer.amsgrad=true"]),
    "bitsandbytes' state": (
        ["precision=int8_weight", "optimizer=adamw_8bit"],
        ["precision=int8_weight", "optimizer=adamw_8bit"],
    ),
    "lion": (["precision=bf16_true", "optimizer=lion"], ["precision=bf16_true", "optimizer=lion"]),
    "an average": (["precision=int8_weight", "callbacks=ema"], ["precision=int8_weight", "callbacks.ema=null"]),
    "several devices": (
        ["precision=int8_weight", "trainer.devices=2", "trainer.strategy=ddp"],
        ["precision=int8_weight", "trainer.devices=2"],
    ),
    "groups": (
        ["precision=int4_qat", "precision.group_size=24"],
        ["precision.group_size=24", "blocks.0.attention.qkv has 32"],
    ),
    "bits": (["precision=int4_qat", "precision.bits=3"], ["precision.bits=3", "one of 8 4"]),
    "half precision": (["precision=int8_qat", "precision.lightning=16-mixed"], ["precision.lightning=16-mixed"]),
    "an option": (["precision=int2"], ["precision", "int2"]),
}


@pytest.mark.slow
@needs_torchao
@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_a_contradiction_is_one_line_that_names_the_keys(command, case):
    pytest.importorskip("bitsandbytes")
    overrides, words = CONTRADICTIONS[case]
    ended = command(*RUN, *overrides)
    assert ended.status == 2 and len(ended.stderr.splitlines()) <= (3 if case == "an option" else 1)
    for word in words:
        assert word in ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "package"),
    [("int8_optim", "bitsandbytes.optim"), ("bf16_true", "torchao.optim"), ("int4_qat", "torchao.quantization")],
)
def test_without_its_package_a_mode_says_how_to_install_it(command, monkeypatch, name, package):
    for module in (package, package.partition(".")[0]):
        monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    ended = command(*RUN, f"precision={name}")
    assert ended.status == 2 and len(ended.stderr.splitlines()) == 2
    for word in (f"precision={name}: needs the extra quantised", "pip install", "'.[quantised]'"):
        assert word in ended.stderr


@pytest.mark.slow
def test_rounding_to_the_nearest_needs_no_package_and_takes_any_optimizer(command, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torchao", None)
    run = (*RUN, "precision=bf16_true", "precision.rounding=nearest", "optimizer=lion", "trainer.max_steps=2")
    assert command(*run, f"hydra.run.dir={tmp_path}/run").status == 0


def int8_weight_takes(attention):
    sizes = ("model.d_model=64", "model.n_head=4", "model.positions=rotary")
    config = composed(*TINY, *sizes, "precision=int8_weight", f"model/attention={attention}")
    module = build(config.model, "model", vocab_size=300)
    build(config.precision, "precision").check_net(module.net)
    return module


@pytest.mark.slow
@needs_torchao
@pytest.mark.parametrize("attention", options("model/attention"))
def test_every_attention_computes_with_weights_of_8_bits(attention):
    int8_weight_takes(attention)


@pytest.mark.slow
@needs_torchao
def test_an_attention_that_computes_with_its_weights_by_itself_is_refused(monkeypatch):
    def by_itself(self, x, *others, **more):
        return x @ self.qkv.weight.view(3, *x.shape[-1:] * 2)[0].T

    monkeypatch.setattr(CausalAttention, "forward", by_itself)
    with pytest.raises(UserError, match="CausalAttention does not compute .*another model/attention"):
        int8_weight_takes("causal")


@needs_torchao
def test_a_mode_that_rounds_by_chance_trains_in_one_process():
    for mode, words in {"bf16_true": "rounding=nearest", "int8_weight": "trainer.devices=1"}.items():
        chosen = build(composed(*TINY, f"precision={mode}").precision, "precision")
        chosen.check_processes(1)
        with pytest.raises(UserError, match=words):
            chosen.check_processes(2)
    nearest = composed(*TINY, "precision=bf16_true", "precision.rounding=nearest").precision
    build(nearest, "precision").check_processes(2)
