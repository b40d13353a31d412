"""Promises of the numbers that a module of several tasks logs: each by value, on losses that are given."""

from types import SimpleNamespace

import pytest
import torch
from parallel_runs import data_of, module_of

from frontpage.data.parallel.parallel_data import VALIDATION
from frontpage.recipe.language_module import LanguageModule


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
    module._task_losses = {"coherence": [torch.tensor(1.0), torch.tensor(4.0)], "lm": [torch.tensor(2.0)]}
    assert module.training_values() == {"train/coherence/loss": 2.5, "train/lm/loss": 2.0}
    assert module.training_values() == {}


@pytest.mark.slow
@torch.no_grad()
def test_a_validation_loss_is_the_mean_over_examples_however_they_are_cut(data, monkeypatch):
    torch.manual_seed(0)
    module, name = module_of(data).eval(), "coherence"
    module._trainer = SimpleNamespace(datamodule=data)
    monkeypatch.setattr(LanguageModule, "measured", lambda self: {})
    monkeypatch.setattr(type(module), "_by_translation", lambda self, data: {})
    examples, texts = data.examples[name], data.texts[VALIDATION]
    whole = texts.batch(examples, name)
    expected = module.tasks[name].loss(module.net.heads[name], module.vectors(whole), whole.labels)
    for part in (slice(0, 33), slice(33, None)):
        module.validation_step(texts.batch(examples, name, part), 0)
    assert module.measured()[f"val/{name}/loss"] == pytest.approx(expected.item(), rel=1e-5)


@torch.no_grad()
def test_a_logit_of_paraphrases_is_a_scaled_cosine_and_an_offset(data):
    torch.manual_seed(0)
    module = module_of(data).eval()
    task, head, vectors = module.tasks["paraphrase"], module.net.heads["paraphrase"], torch.randn(4, 2, 32)
    head.scale.fill_(3.0), head.offset.fill_(0.7)
    cosine = torch.nn.functional.cosine_similarity(*head(vectors).unbind(1))
    torch.testing.assert_close(task.judged(head, vectors)[:, -1], 3 * cosine + 0.7)
