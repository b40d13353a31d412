"""Promises of model.accuracy: the share of tokens that are the likeliest, of validation and of what was trained on."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from run_outputs import events_of, losses_of, stop_at
from tiny import TINY, composed
from torch.nn import functional as F

from frontpage.command.build import build
from frontpage.command.endings import Interrupted
from frontpage.evaluation.accuracy import right_tokens
from frontpage.runs.reopen import load_run

RUN = (
    *TINY,
    "data.block_size=64",
    "model.accuracy=true",
    "model.dropout=0",
    "optimizer.lr=0.01",
    "val_interval=3",
    "trainer.max_steps=7",
)


def final_of(run):
    return [event for event in events_of(run) if event["event"] == "validation_step"]


def test_right_tokens_are_those_whose_logit_is_the_largest():
    draws = torch.Generator().manual_seed(1)
    hidden, weight = torch.randn(50, 8, generator=draws), torch.randn(20, 8, generator=draws)
    targets = (hidden @ weight.T).argmax(1)
    wrong = torch.tensor([3, 4, 11, 49])
    targets[wrong] = (targets[wrong] + 1) % 20
    for chunk in (1, 7, 50, 1000):
        found = right_tokens(hidden, partial(F.linear, weight=weight), targets, chunk)
        assert (~found).nonzero().flatten().tolist() == wrong.tolist()
    assert right_tokens(hidden[:0], partial(F.linear, weight=weight), targets[:0]).shape == (0,)


@pytest.mark.slow
def test_a_validation_has_the_share_of_right_tokens_and_its_error_over_titles(command, tmp_path, config):
    run = tmp_path / "run"
    assert command(*RUN, f"hydra.run.dir={run}").status == 0
    measured = min(final_of(run), key=lambda one: one["val/nats_per_char"])  # of the weights that are reopened
    _, module = load_run(run, trusted=[run])
    data = build(config(*RUN, f"paths.cache_dir={tmp_path}/cache").data, "data")
    data.setup()
    right, tokens = [], []
    for title in data.validation_texts():
        ids = [*data.tokenizer.encode(title), data.tokenizer.eos_id]
        logits = module.net(torch.tensor([[data.tokenizer.eos_id, *ids[:-1]]]))[0]
        right.append(int((logits.argmax(-1) == torch.tensor(ids)).sum()))
        tokens.append(len(ids))
    assert measured["val/accuracy"] == pytest.approx(sum(right) / sum(tokens), abs=1e-9)
    share, count = sum(right) / sum(tokens), len(tokens)
    residuals = sum((one - share * size) ** 2 for one, size in zip(right, tokens, strict=True))
    error = (count / (count - 1) * residuals) ** 0.5 / sum(tokens)
    assert measured["val/accuracy_se"] == pytest.approx(error, rel=1e-6)


@pytest.mark.slow
def test_training_accuracy_is_that_since_the_validation_before(command, tmp_path, monkeypatch):
    from frontpage.recipe.language_module import LanguageModule

    counted, usual = [], LanguageModule._count_right

    def count(self, hidden, targets):
        usual(self, hidden, targets)
        logits, scored = self.language_head(hidden), targets != -100
        counted.append((int((logits.argmax(-1) == targets)[scored].sum()), int(scored.sum())))

    monkeypatch.setattr(LanguageModule, "_count_right", count)
    run = tmp_path / "run"
    assert command(*RUN, f"hydra.run.dir={run}").status == 0
    spans = [counted[0:3], counted[3:6], counted[6:7]]
    expected = [sum(right for right, _ in span) / sum(size for _, size in span) for span in spans]
    assert [one["train/accuracy"] for one in final_of(run)] == pytest.approx(expected, rel=1e-12)


@pytest.mark.slow
def test_a_resumed_run_has_the_same_numbers(command, tmp_path, monkeypatch):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert command(*RUN, f"hydra.run.dir={whole}").status == 0
    with monkeypatch.context() as patch:
        stop_at(patch, 5, False, Interrupted("stopped"))
        assert command(*RUN, f"hydra.run.dir={broken}").status == 130
    assert command(*RUN, f"hydra.run.dir={broken}", "ckpt_path=last").status == 0
    names = ("step", "val/accuracy", "val/accuracy_se", "train/accuracy")
    assert [[one[name] for name in names] for one in final_of(whole)] == [
        [one[name] for name in names] for one in final_of(broken)
    ]


def test_what_all_processes_have_counted_goes_on_in_the_first_one_alone():
    for first, expected in ((True, [3, 4]), (False, [0, 0])):
        module = build(composed(*RUN).model, "model", vocab_size=300)
        module._trainer = SimpleNamespace(is_global_zero=first)
        module.on_load_checkpoint({"newest": {"trained_right": torch.tensor([3, 4])}})
        assert module.trained_right.tolist() == expected


@pytest.mark.slow
def test_it_changes_no_loss_and_is_off_unless_asked_for(command, tmp_path):
    with_it, without = tmp_path / "with", tmp_path / "without"
    assert command(*RUN, f"hydra.run.dir={with_it}").status == 0
    assert command(*[one for one in RUN if "accuracy" not in one], f"hydra.run.dir={without}").status == 0
    assert losses_of(with_it) == losses_of(without)
    assert not composed().model.accuracy and not any("accuracy" in name for name in final_of(without)[-1])


@pytest.mark.slow
def test_it_can_be_followed_only_where_it_is_measured(command):
    follow = ("callbacks.best_checkpoint.monitor=val/accuracy", "callbacks.best_checkpoint.mode=max")
    outcome = command(*TINY, *follow)
    assert outcome.status == 2 and "model.accuracy=true" in outcome.stderr
    assert command(*TINY, *follow, "model.accuracy=true", "trainer.max_steps=2").status == 0
