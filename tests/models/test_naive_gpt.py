"""The plain GPT of the original exercise and ours are the same function; the benchmarks compare equals."""

import json

import pytest
import torch
from programs import run_script

from frontpage.attention.causal import CausalAttention
from frontpage.evaluation.losses import next_token_loss
from frontpage.models.gpt import GPT
from frontpage.models.naive_gpt import NaiveGPT

TINY_SIZES = ("--vocab", 50, "--block", 16, "--batch", 2, "--layers", 2, "--width", 32, "--heads", 4, "--rounds", 2)


def test_the_naive_gpt_and_ours_have_the_same_loss_and_gradients():
    torch.manual_seed(0)
    ours = GPT(50, 16, 32, 2, 4, attention=CausalAttention).double()
    for parameter in ours.parameters():  # biases and the position table begin at zero
        torch.nn.init.normal_(parameter, std=0.2)
    naive = NaiveGPT(50, 16, 32, 2, 4).double()
    naive.take_weights(ours)
    tokens = torch.randint(50, (3, 17))
    mine = next_token_loss(ours.hidden(tokens[:, :-1]), ours.head.weight, tokens[:, 1:])
    theirs = naive(tokens[:, :-1], tokens[:, 1:].contiguous())
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)
    mine.backward()
    theirs.backward()
    gradients = {name.replace(".mlp.", "."): weight.grad for name, weight in ours.named_parameters()}
    for name, weight in naive.named_parameters():
        torch.testing.assert_close(gradients[name], weight.grad, rtol=0, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--checkpointing", "--precision", "bf16-mixed"), ("--compile",)], ids=str)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # --compile: torch imports torch.jit for itself
def test_the_benchmark_reports_both_sides(capfd, tmp_path, options):
    ended = run_script(capfd, "benchmark", *TINY_SIZES, *options, "--device", "cpu", "--json", tmp_path / "found.json")
    assert ended.status == 0, ended.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    sides = found["reference"], found["ours"]
    assert found["speedup"] == pytest.approx(sides[0]["seconds"] / sides[1]["seconds"])
    assert found["processor"] and found["matmul_peak_flops"] > 0 and 0 < found["model_flops_utilization"]
    for side in sides:
        assert side["tokens_per_second"] == pytest.approx(2 * 16 / side["seconds"])
        assert side["peak_memory_bytes"] > 0
    assert f"{found['speedup']:.2f} times as fast" in ended.stdout and found["processor"] in ended.stdout


def test_a_benchmark_of_impossible_sizes_is_refused(capfd):
    ended = run_script(capfd, "benchmark", "--width", 30, "--heads", 4)
    assert ended.status == 2 and "--heads=4: must divide --width=30" in ended.stderr


@pytest.mark.slow
def test_lightnings_share_is_measured(capfd, tmp_path):
    sizes = ("data.num_titles=200", "data.batch_size=4", "model.d_model=32", "model.n_layer=1", "scheduler.warmup=0")
    options = ("--updates", 10, "--turns", 2, "--json", tmp_path / "found.json")
    ended = run_script(capfd, "benchmark_lightning", "experiment=quickstart", *sizes, *options)
    assert ended.status == 0, ended.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert len(found["turns"]) == 2 and all(seconds > 0 for turn in found["turns"] for seconds in turn)
    assert f"{found['overhead']:+.1%}" in ended.stdout
