"""Promises of the numbers that a module of several tasks logs: each by value, on losses that are given."""

from types import SimpleNamespace

import pytest
import torch
from parallel_runs import data_of, module_of
from torch import nn

from frontpage.data.parallel.parallel_data import VALIDATION
from frontpage.recipe.language_module import LanguageModule
from frontpage.recipe.modules import DeepNarrowModule
from frontpage.recipe.update_mean import UpdateMean


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return data_of(tmp_path_factory.mktemp("parallel"))


@pytest.mark.slow
def test_the_mixture_weighs_by_the_last_weights_and_scales_which_need_not_sum_to_one(data):
    module = module_of(data, "tasks=[lm,coherence]", "tasks.lm.weight=[[0,1.0],[9,3.0]]", "tasks.coherence.weight=2.0")
    found = module._mixture({"val/loss": 4.0, "val/coherence/loss": 0.5})
    assert found == {"val/loss_mixture": pytest.approx((3 * 1 * 4.0 + 2 * 10 * 0.5) / 5)}
    assert module._mixture({"val/loss": 4.0}) == {}


@pytest.mark.slow
def test_the_training_loss_of_a_task_is_the_mean_since_the_newest_row(data):
    module = module_of(data)
    for task, loss in (("coherence", 1.0), ("coherence", 4.0), ("lm", 2.0)):
        module._task_means.add(task, torch.tensor(loss))
    found = {"train/coherence/loss": 2.5, "train/lm/loss": 2.0}
    assert module.training_values() == module.training_values() == module.newest_values() == found
    module.on_logged()
    assert module.training_values() == {} and module.newest_values() == found
    module._task_means.add("lm", torch.tensor(3.0))
    assert module.training_values() == {"train/lm/loss": 3.0}
    assert module.newest_values() == found | {"train/lm/loss": 3.0}


@pytest.mark.slow
@torch.no_grad()
def test_a_validation_loss_is_the_mean_over_examples_however_they_are_cut(data, monkeypatch):
    torch.manual_seed(0)
    module, name = module_of(data).eval(), "coherence"
    module._trainer = SimpleNamespace(datamodule=data)
    monkeypatch.setattr(LanguageModule, "measured", lambda self: {})
    monkeypatch.setattr(type(module), "_by_translation", lambda self, data: {})
    examples, texts = data.examples[name], data.texts[VALIDATION]
    whole = texts.batch(examples, name, data.tasks[name])
    expected = module.tasks[name].loss(module.net.heads[name], module.vectors(whole), whole.labels)
    for part in (slice(0, 33), slice(33, None)):
        module.validation_step(texts.batch(examples, name, data.tasks[name], part), 0)
    assert module.measured()[f"val/{name}/loss"] == pytest.approx(expected.item(), rel=1e-5)


@torch.no_grad()
def test_a_logit_of_paraphrases_is_a_scaled_cosine_and_an_offset(data):
    torch.manual_seed(0)
    module = module_of(data).eval()
    task, head, vectors = module.tasks["paraphrase"], module.net.heads["paraphrase"], torch.randn(4, 2, 32)
    head.scale.fill_(3.0), head.offset.fill_(0.7)
    cosine = torch.nn.functional.cosine_similarity(*head(vectors).unbind(1))
    torch.testing.assert_close(task.judged(head, vectors)[:, -1], 3 * cosine + 0.7)


def test_the_nats_of_the_next_token_are_of_this_update_and_of_all_processes():
    module = DeepNarrowModule.__new__(DeepNarrowModule)
    nn.Module.__init__(module)
    module._losses = module._update_nats = UpdateMean()
    module.loss = module.next_token_loss = module._nats = None
    module._summed = lambda own: own + torch.tensor([3.0 * 0.25, 0.25])  # of another process, 3 nats at a share of 0.25
    other = torch.tensor(9.0)

    def keep(nats, begins, joined):
        module._nats = None if nats is None else torch.tensor(nats)
        module._keep_loss(other, 0.25, begins, joined)
        return module.next_token_loss

    assert float(keep(2.0, True, False)) == 2.0
    assert float(keep(None, False, True)) == 2.5  # joined, though the last micro-batch is of another task
    assert keep(None, True, False) is None and keep(None, False, True) is None  # an update of other tasks alone
