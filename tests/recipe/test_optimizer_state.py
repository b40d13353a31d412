"""Promises of every optimizer's state: a run goes on from it to the bit, it is as large as estimated, and its own."""

import io
import itertools

import pytest
import torch
from optimizers import OPTIMIZERS, chosen, give_gradients, missing, module_of
from tiny import TINY, options

from frontpage.command.endings import Interrupted
from frontpage.command.errors import UserError
from frontpage.recipe.optimizer_memory import optimizer_bytes
from frontpage.recipe.parameter_groups import optimizer_of
from frontpage.runs.checkpoint import check_continues, open_checkpoint
from frontpage.training.memory.fake_step import dtypes_of


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_its_state_gives_the_same_next_updates_to_the_bit(name, dtype):
    module = module_of(name, d_model=64).to(dtype)  # large enough for 8 bits
    optimizer = optimizer_of(module.net, module.make_optimizer)
    for seed in range(3):
        give_gradients(module.net, seed)
        optimizer.step()
    file = io.BytesIO()
    torch.save({"net": module.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    other = module_of(name, d_model=64).to(dtype)
    other.load_state_dict(saved["net"])
    resumed = optimizer_of(other.net, other.make_optimizer)
    resumed.load_state_dict(saved["optimizer"])
    for group in (*optimizer.param_groups, *resumed.param_groups):
        group["lr"] *= 3  # as a schedule does, which must reach the parts of an optimizer after loading, too
    for seed in range(3, 6):
        for one, its_optimizer in ((module, optimizer), (other, resumed)):
            before = [weight.clone() for weight in one.net.parameters()]
            give_gradients(one.net, seed)
            its_optimizer.step()
            if dtype == torch.float32:
                assert not any(map(torch.equal, before, one.net.parameters()))
        for mine, its in zip(module.net.parameters(), other.net.parameters(), strict=True):
            assert torch.equal(mine, its)


@pytest.mark.parametrize("precision", ["32-true", "bf16-true"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_its_state_is_as_large_as_the_estimate(name, precision):
    net = module_of(name, d_model=64, n_layer=2, tie_embeddings=False).net
    net = net.bfloat16() if precision == "bf16-true" else net
    estimated = optimizer_bytes(net, chosen("optimizer", name), dtypes_of(precision).weights)
    optimizer = optimizer_of(net, chosen("optimizer", name))
    give_gradients(net, 0)
    optimizer.step()
    tensors = {id(value): value for state in optimizer.state.values() for value in state.values()}
    tensors = [value for value in tensors.values() if torch.is_tensor(value) and value.numel() > 1]
    real = sum(value.numel() * value.element_size() for value in tensors)
    if name == "adamw_8bit":
        assert estimated == pytest.approx(real, rel=0.03)  # two tables of 256 numbers are shared by all weights
    else:
        assert estimated == real
    assert (real == 0) == (name == "sgd")


class Bytes(torch.optim.Optimizer):
    """It keeps a byte a number, and 32 bits of a weight with fewer than 4,096 of them, as 8-bit optimizers do."""

    def step(self):
        for weight in (weight for group in self.param_groups for weight in group["params"]):
            kind = torch.float32 if weight.numel() < 4096 else torch.uint8
            self.state[weight]["average"] = torch.zeros_like(weight, dtype=kind)


def test_small_weights_are_estimated_with_their_32_bits_and_large_ones_with_their_byte():
    net = module_of(d_model=64, n_layer=2, tie_embeddings=False).net
    sizes = [weight.numel() for weight in net.parameters()]
    assert min(sizes) < 4096 < max(sizes) and 4096 in sizes
    expected = sum(size if size >= 4096 else 4 * size for size in sizes)
    assert optimizer_bytes(net, lambda groups: Bytes(groups, {"lr": 1.0})) == expected


@pytest.mark.slow
def test_a_run_goes_on_with_the_optimizer_that_wrote_it_and_with_no_other(tmp_path):
    names = [name for name in options("optimizer") if not missing(name)]
    for written in names:
        module = module_of(written)
        state = optimizer_of(module.net, module.make_optimizer).state_dict()
        optimizer = optimizer_of(module.net, module.make_optimizer)
        schedules = [dict.fromkeys(module.make_scheduler(optimizer, total_steps=9).state_dict(), 0)]
        content = {"state_dict": module.state_dict(), "optimizer_states": [state], "lr_schedulers": schedules}
        torch.save(content, tmp_path / f"{written}.ckpt")
    for written, taken in itertools.product(names, names):
        path = tmp_path / f"{written}.ckpt"
        if written == taken:
            check_continues(module_of(taken), open_checkpoint(path, "ckpt_path"))
        else:
            with pytest.raises(UserError, match="another optimizer than"):
                check_continues(module_of(taken), open_checkpoint(path, "ckpt_path"))


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_resumed_run_ends_with_the_bits_of_an_uninterrupted_one(command, tmp_path, monkeypatch, name):
    def stop(self, trainer):
        if trainer.global_step >= 4 and not trainer.validating:
            raise Interrupted("stopped")

    run = (*TINY, f"optimizer={name}", "scheduler=wsd", "scheduler.warmup=2", "model.tie_embeddings=false")
    run += ("trainer.max_epochs=3", "callbacks.sample_titles=null", "model.original_metric=never")
    whole, broken = (f"hydra.run.dir={tmp_path}/{place}" for place in ("whole", "broken"))
    assert command(*run, whole).status == 0
    with monkeypatch.context() as patch:
        patch.setattr("frontpage.training.callbacks.stop_on_signal.StopOnSignal._stop_if_asked", stop)
        assert command(*run, broken).status == 130
    assert command(*run, broken, "ckpt_path=last").status == 0
    first, second = (
        torch.load(tmp_path / place / "checkpoints" / "last.ckpt", weights_only=True) for place in ("whole", "broken")
    )
    assert first["global_step"] == second["global_step"] > 4
    assert all(torch.equal(weight, second["state_dict"][key]) for key, weight in first["state_dict"].items())
    groups = [group["name"] for group in first["optimizer_states"][0]["param_groups"]]
    assert groups == ["matrices", "head", "others"]
    columns = (tmp_path / "whole" / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {f"train/learning_rate/{group}" for group in groups} <= set(columns)
