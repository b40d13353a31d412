"""Promises of the guard against numbers that are not finite: found before the update, never saved, told in full."""

import re
from types import SimpleNamespace

import pytest
import torch
from programs import ended_by, record_of, train_tiny
from tiny import TINY

from frontpage.command.build import build
from frontpage.recipe.language_module import LanguageModule
from frontpage.recipe.parameter_groups import optimizer_of
from frontpage.training.callbacks.stop_on_divergence import DivergenceError, StopOnDivergence, all_finite

RUN = ("trainer.max_steps=9", "save_interval=1", "log_interval=100", "model.dropout=0")


@pytest.fixture
def diverged(tmp_path, capfd):
    """What a run with these overrides says on stderr as it ends with status 1: what was found, and what to try."""

    def diverged(*overrides):
        outcome = ended_by(capfd, lambda: train_tiny(tmp_path / "run", *RUN, *overrides))
        assert outcome.status == 1 and outcome.stderr.count("\n") == 2, outcome.stderr
        return outcome.stderr

    return diverged


def saved(directory):
    return torch.load(directory / "checkpoints" / "last.ckpt", weights_only=True)


@pytest.fixture
def titles(tmp_path):
    """A file of titles that hold a control character."""
    path = tmp_path / "titles.txt"
    path.write_text("".join(f"title\x1b[31m number {n} of a file\n" for n in range(60)))
    return ("data=hn_titles", f"data.path={path}", "data.num_titles=null", "data.val_frac=0.05")


def broken_by(monkeypatch, where, document=None):
    """From then on the rows that hold the title `document` of the training titles have a loss or gradient of NaN."""
    honest = LanguageModule.loss_of

    def loss_of(self, batch):
        loss = honest(self, batch)
        factor = torch.where((batch.document_ids == document).any(), torch.nan, 1.0)
        if where == "loss":
            return loss * factor
        return loss + (loss - loss.detach()) * (factor - 1)  # the same number, with another gradient

    monkeypatch.setattr(LanguageModule, "loss_of", loss_of)


@pytest.mark.slow
@pytest.mark.parametrize(("where", "accumulate"), [("loss", 1), ("gradient", 2)])
def test_a_title_that_breaks_the_loss_is_named_and_changes_no_weight(
    tmp_path, monkeypatch, diverged, titles, where, accumulate
):
    """Document 45 of the epoch's order lies in its second update, in a row or over the border of two."""
    broken_by(monkeypatch, where, document=45)
    split = (f"data.batch_size={8 // accumulate}", f"trainer.accumulate_grad_batches={accumulate}")
    text = diverged(*titles, *split, "trainer.precision=bf16-mixed")
    record = record_of(tmp_path / "run")
    assert record["reason"] == f"DivergenceError: {text.rstrip()}" and record["status"] == "failed"
    last = saved(tmp_path / "run")
    assert f"at update {last['global_step'] + 1} (" in text, "the update was not made, and the one before is saved"
    assert record["steps"] == last["global_step"] and all_finite([*last["state_dict"].values()])
    assert "precision bf16-mixed" in text and "optimizer.lr" in text and "32-true" in text
    place = r"(it is row \d|they are rows \d to \d) of batch \d of epoch 0, whose titles begin with '"
    assert re.search(place, text) and "all" not in text, "a half that is not broken is left out"
    assert "\x1b" not in text and r"title\x1b[31m number " in text, "control characters are escaped"


@pytest.mark.slow
@pytest.mark.parametrize(("decay", "said"), [("0", "all 8 rows of batch 1 of epoch 0"), ("1e10", "not saved")])
def test_weights_that_an_update_broke_are_never_saved(tmp_path, diverged, decay, said):
    """The loss of an update is finite; the weights behind it are huge, or not finite."""
    wild = (
        "optimizer=sgd",
        "optimizer.lr=1e38",
        f"optimizer.weight_decay={decay}",
        "trainer.gradient_clip_val=null",
        "val_interval=9",
    )
    text = diverged(*wild, "scheduler=constant")
    assert all(words in text for words in ("at update", "learning rate 1e+38, precision 32-true", said))
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    assert last.exists() == (decay == "0")
    assert not last.exists() or all_finite([*saved(tmp_path / "run")["state_dict"].values()])


@pytest.mark.parametrize("name", ["adamw", "sgd", "muon", "lion"])
def test_a_device_that_is_not_waited_for_leaves_out_what_is_broken_and_all_that_follows(config, name):
    more = ("optimizer.fused=true",) if name in ("adamw", "sgd") else ()
    settings = config(*TINY, f"optimizer={name}", *more)
    module = build(settings.model, "model", vocab_size=300)
    optimizer, guard = optimizer_of(module.net, module.make_optimizer), StopOnDivergence()
    weights = list(module.net.parameters())

    def update(number):
        before = [weight.detach().clone() for weight in weights]
        for weight in weights:
            weight.grad = torch.full_like(weight, number)
        guard.leave_out(optimizer, weights[0].grad.sum())
        optimizer.step()
        assert all_finite(weights)
        return [torch.equal(old, new) for old, new in zip(before, weights, strict=True)]

    assert not any(update(0.01)) and int(guard._left_out) == 0
    exact = name in ("adamw", "sgd")
    for count, number in enumerate((torch.nan, 0.01, torch.inf), start=1):
        assert all(update(number)) or not exact
        assert int(guard._left_out) == count
    module.loss = module.grad_norm = torch.tensor(1.0)
    trainer = SimpleNamespace(global_step=4, optimizers=[optimizer], precision="32-true", train_dataloader=None)
    with pytest.raises(DivergenceError, match="not finite at update 2 "):
        guard.look(trainer, module)


@pytest.mark.parametrize(("loss", "norm", "ends"), [(1.0, torch.inf, False), (torch.nan, 1.0, True)])
def test_a_gradient_that_overflows_under_a_scaler_is_the_scalers(loss, norm, ends):
    module = SimpleNamespace(
        loss=torch.tensor(loss), grad_norm=torch.tensor(norm), device=torch.device("cpu"), net=torch.nn.Linear(1, 1)
    )
    trainer = SimpleNamespace(
        precision_plugin=SimpleNamespace(scaler=object()),
        global_step=4,
        optimizers=[],
        precision="16-mixed",
        train_dataloader=None,
    )
    if ends:
        with pytest.raises(DivergenceError, match="train/loss is nan, .* at update 5 .*precision 16-mixed"):
            StopOnDivergence().on_gradient(trainer, module)
    else:
        StopOnDivergence().on_gradient(trainer, module)
