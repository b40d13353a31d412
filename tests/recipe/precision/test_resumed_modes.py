"""Promises of a run in each precision mode that is broken off: its checkpoint is plain, and it goes on to the bit."""

import io

import pytest
import torch
from optimizers import give_gradients, module_of
from precision_modes import TRAINED, mode_named, needs_torchao
from run_outputs import checkpoint_of, events_of, losses_of, same, stop_at
from tiny import TINY

from frontpage.command.endings import Interrupted
from frontpage.recipe.parameter_groups import optimizer_of
from frontpage.recipe.plain_tensors import as_numbers
from frontpage.recipe.precision.own_adamw import PlainState
from frontpage.runs.checkpoint_file import CheckpointFile

RUN = [one for one in TINY if "precision" not in one] + ["model.d_model=64", "trainer.max_epochs=2", "save_interval=5"]
RUN += ["callbacks.sample_titles=null", "model.original_metric=never", "model.dropout=0.1"]


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_a_run_that_goes_on_ends_with_the_bits_of_one_that_was_not_broken_off(command, tmp_path, monkeypatch, name):
    run = (*RUN, f"precision={name}")
    whole, broken = (f"hydra.run.dir={tmp_path}/{place}" for place in ("whole", "broken"))
    assert command(*run, whole).status == 0
    with monkeypatch.context() as patch:
        stop_at(patch, 13, False, Interrupted("stopped"))
        assert command(*run, broken).status == 130
    assert command(*run, broken, "ckpt_path=last").status == 0
    [resumed] = [event for event in events_of(tmp_path / "broken") if event["event"] == "resumed"]
    assert all(part["equal"] for part in resumed["parts"].values()) and resumed["update"] > 0
    first, second = (checkpoint_of(tmp_path / place) for place in ("whole", "broken"))
    for part in ("state_dict", "optimizer_states", "int8_weights"):
        assert same(first.get(part), second.get(part)), part
    assert losses_of(tmp_path / "whole") == losses_of(tmp_path / "broken")


@needs_torchao
@pytest.mark.parametrize("name", ["bf16_true", "int8_weight", "int8_weight averages=int8"])
def test_torchaos_optimizers_are_saved_as_plain_tensors_and_go_on_to_the_bit(name):
    def made():
        module = module_of(d_model=64, compile=False)
        mode, *changes = name.split()
        module.train_in(mode_named(mode, **dict(change.split("=") for change in changes)))
        module.configure_model()
        module.bfloat16()
        return module, optimizer_of(module.net, module.make_optimizer)

    def updates(module, optimizer, seeds):
        for seed in seeds:
            give_gradients(module.net, seed)
            torch.manual_seed(seed)  # of the rounding
            optimizer.step()

    (module, optimizer), (other, resumed) = made(), made()
    assert isinstance(optimizer, PlainState)
    updates(module, optimizer, range(2))
    content, file = {"state_dict": module.state_dict(), "optimizer": optimizer.state_dict()}, io.BytesIO()
    module.precision_mode.save(module.net, content)
    torch.save(content, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    for state in saved["optimizer"]["state"].values():
        assert all(type(value) is torch.Tensor for value in state.values())
    saved["newest"] = {}
    other.on_load_checkpoint(saved)
    other.load_state_dict(saved["state_dict"])
    resumed.load_state_dict(saved["optimizer"])
    assert resumed.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"] and isinstance(
        optimizer.defaults["lr"], float
    )
    for one in ((module, optimizer), (other, resumed)):
        updates(*one, range(2, 4))
    for mine, its in zip(module.net.parameters(), other.net.parameters(), strict=True):
        assert torch.equal(as_numbers(mine.detach()), as_numbers(its.detach()))


@needs_torchao
@pytest.mark.slow
def test_a_checkpoint_without_its_integers_is_refused(command, tmp_path):
    run = (*RUN, "precision=int8_weight", "trainer.max_epochs=1", f"hydra.run.dir={tmp_path}/run")
    assert command(*run).status == 0
    content = checkpoint_of(tmp_path / "run")
    kept = content["int8_weights"]["net.blocks.0.mlp.up.weight"]
    assert kept["int_data"].dtype == torch.int8 and kept["int_data"].shape == (256, 64)
    numbers = kept["int_data"] * kept["scale"][:, None]
    assert torch.equal(content["state_dict"]["net.blocks.0.mlp.up.weight"], numbers)
    del content["int8_weights"]
    CheckpointFile().save_checkpoint(content, tmp_path / "run" / "checkpoints" / "other.ckpt")
    other = f"ckpt_path={tmp_path}/run/checkpoints/other.ckpt"
    ended = command(*run[:-1], "trainer.max_epochs=2", f"hydra.run.dir={tmp_path}/next", other)
    assert ended.status == 2 and "int8_weights is nothing, not a dictionary" in ended.stderr
    ended = command(*RUN, "precision=bf16", f"hydra.run.dir={tmp_path}/run", "ckpt_path=last", "trainer.max_epochs=3")
    assert ended.status == 2 and ended.stderr.startswith("precision=bf16 (was int8_weight)")
