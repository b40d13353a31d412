"""Promises of every optimizer: it trains under every schedule and precision, and lowers the loss."""

import importlib.util
import math

import pytest
import torch
from optimizers import OPTIMIZERS, chosen, module_of
from tiny import TINY, options
from watched_training import batch_of, trained

from frontpage.recipe.parameter_groups import optimizer_of

HALF, SCHEDULERS = ("bf16-mixed", "bf16-true"), options("scheduler")


@pytest.mark.parametrize(
    ("precision", "schedulers"),
    [("32-true", SCHEDULERS)]
    + [(precision, ["cosine"]) for precision in HALF]
    + [pytest.param(one, [s for s in SCHEDULERS if s != "cosine"], marks=pytest.mark.slow) for one in HALF],
    ids=lambda value: value if isinstance(value, str) else f"{len(value)}-schedules",
)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_trains_under_every_schedule(name, precision, schedulers):
    for scheduler in schedulers:
        module = module_of(name, scheduler)
        before = {key: weight.clone() for key, weight in module.state_dict().items()}
        watch = trained(module, precision)
        assert len(watch.losses) == 3 and all(map(math.isfinite, watch.losses)), scheduler
        for key, weight in module.state_dict().items():
            assert weight.isfinite().all(), (scheduler, key)
            assert weight.dtype == (torch.bfloat16 if precision == "bf16-true" else torch.float32)
        same = [key for key, weight in module.state_dict().items() if torch.equal(weight, before[key].to(weight.dtype))]
        # 1 + 0.001 is 1 in bfloat16, so a few updates may leave a norm, and of small rates more, where they are
        assert len(same) < len(before) if precision == "bf16-true" else same == [], (scheduler, same)
        peak = chosen("optimizer", name).keywords["lr"]
        assert all(0 < rate <= peak for rates in watch.rates for rate in rates)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="16-mixed is for CUDA")
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_trains_in_half_precision_on_cuda(name):
    watch = trained(module_of(name).cuda(), "16-mixed", accelerator="cuda")
    assert all(map(math.isfinite, watch.losses))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_lowers_the_loss(name):
    module, batch = module_of(name), batch_of(0)
    optimizer = optimizer_of(module.net, module.make_optimizer)
    if name == "sgd":
        for group in optimizer.param_groups:
            group["lr"] = 0.3  # its default is the original exercise's
    losses = []
    for _ in range(12):
        loss = torch.nn.functional.cross_entropy(module.net(batch.inputs).flatten(0, 1), batch.targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.01


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_8_bit_adamw_without_its_package_says_how_to_install_it(command):
    outcome = command(*TINY, "optimizer=adamw_8bit")
    assert outcome.status == 2 and len(outcome.stderr.splitlines()) <= 3
    for words in ("optimizer=adamw_8bit", "extra adamw8bit", "pip install", "'.[adamw8bit]'", "optimizer=adamw"):
        assert words in outcome.stderr
