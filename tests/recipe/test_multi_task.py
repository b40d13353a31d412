"""Promises of the module of several tasks: what a batch trains, what a text's vector depends on, what is measured."""

import math
from types import SimpleNamespace

import pytest
import torch
from parallel_runs import FOUR, SMALL, data_of, first_of_each_task, module_of
from torch.nn import functional as F

from frontpage.command.errors import UserError
from frontpage.data.parallel.examples import Examples
from frontpage.data.parallel.parallel_data import VALIDATION
from frontpage.evaluation.declared import HIGHER
from frontpage.evaluation.metrics import HONEST
from frontpage.models.text_heads import PairClassifier, Projector, ScaledProjector, pooled
from frontpage.recipe.modules import DeepNarrowModule


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return data_of(tmp_path_factory.mktemp("parallel"))


@pytest.fixture
def module(data):
    torch.manual_seed(0)
    return module_of(data)


@pytest.fixture(scope="module")
def batches(data):
    return first_of_each_task(data.loader_of())


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["layernorm", "rmsnorm", "deepnorm", "postnorm"])
@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_every_weight_gets_a_gradient_over_a_cycle_of_tasks(data, batches, norm, pooling):
    module = module_of(data, f"model.norm={norm}", f"model.pooling={pooling}").train()
    for batch in batches.values():
        module.loss_of(batch).backward()
    without = [name for name, one in module.named_parameters() if one.grad is None or not one.grad.abs().sum() > 0]
    assert without == []


def test_a_batch_trains_its_own_head_and_no_other(module, batches):
    for name, batch in batches.items():
        module.zero_grad()
        module.loss_of(batch).backward()
        touched = {head for head in FOUR[1:] for one in module.net.heads[head].parameters() if one.grad is not None}
        assert touched == ({name} - {"lm"})


def test_the_first_losses_are_those_of_knowing_nothing(module, batches, data):
    module.eval()
    found = {
        name: module.loss_of(batch).item() / module.tasks[name].loss_scale.at(0) for name, batch in batches.items()
    }
    assert found["lm"] == pytest.approx(math.log(data.vocab_size), abs=0.1)
    assert found["coherence"] == pytest.approx(math.log(2), abs=0.1)
    assert found["paraphrase"] < 5 and found["cross_reference"] < math.log(99)


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_more_padding_changes_no_vector_and_no_loss(module, batches, data, pooling):
    module.pooling = pooling
    module.eval()
    for name in FOUR[1:]:
        batch = batches[name]
        longer = batch._replace(tokens=F.pad(batch.tokens, (0, 24), value=data.tokenizer.pad_id))
        other = batch._replace(tokens=F.pad(batch.tokens, (0, 24), value=7))
        expected = module.vectors(batch)
        for changed in (longer, other):
            assert torch.allclose(module.vectors(changed), expected, atol=1e-6)
            assert module.loss_of(changed).item() == pytest.approx(module.loss_of(batch).item(), rel=1e-5)


@pytest.mark.slow
def test_techniques_are_of_the_language_task_alone(data, batches):
    names = "[r_drop,label_smoothing,multi_token_prediction,token_dropout]"
    module, plain = module_of(data, f"model/technique={names}").train(), module_of(data).train()
    module.load_state_dict(plain.state_dict())
    module.connect(data.tokenizer, data.block_size, None)
    for name, batch in batches.items():
        assert torch.equal(module.loss_of(batch), plain.loss_of(batch)) == (name != "lm")
    assert (module.passes, module.loss_unit) == (2, None)
    assert module.flops_per_token(64) == 2 * plain.flops_per_token(64)
    assert module.flops_of_examples(batches["coherence"]) == plain.flops_of_examples(batches["coherence"])


def test_vectors_are_means_of_unscaled_states(module, batches):
    batch = batches["coherence"]
    module.eval()
    states = module.net.hidden(batch.tokens[:, 1]) / module.net.logit_scale
    for example, length in enumerate(batch.lengths[:, 1].tolist()):
        expected = states[example, :length].mean(0)
        assert torch.allclose(module.vectors(batch)[example, 1], expected, atol=1e-5)
    states = torch.randn(3, 5, 2)
    lengths = torch.tensor([5, 1, 3])
    assert torch.equal(pooled(states, lengths, "last"), torch.stack([states[0, 4], states[1, 0], states[2, 2]]))


def test_all_texts_of_a_batch_go_through_the_trunk_at_once(module, batches, monkeypatch):
    seen = []
    monkeypatch.setattr(
        module, "_compiled_hidden", lambda tokens: seen.append(tokens.shape) or torch.ones(*tokens.shape, 32)
    )
    module.train().vectors(batches["cross_reference"])
    examples, members, length = batches["cross_reference"].tokens.shape
    assert seen == [(examples * members, length)] and members == 3


def test_losses_are_their_formulas(module):
    torch.manual_seed(1)
    vectors, labels = torch.randn(6, 2, 32), torch.tensor([1.0, 0, 1, 0, 0, 1])
    heads, tasks = module.eval().net.heads, module.tasks
    logits = heads["coherence"](vectors)
    expected = -(labels * logits.sigmoid().log() + (1 - labels) * (1 - logits.sigmoid()).log()).mean()
    assert torch.allclose(tasks["coherence"].loss(heads["coherence"], vectors, labels), expected)

    one, two = heads["paraphrase"](vectors).unbind(1)
    logits = 5 * F.cosine_similarity(one, two)
    expected = -(labels * logits.sigmoid().log() + (1 - labels) * (1 - logits.sigmoid()).log()).mean()
    assert torch.allclose(tasks["paraphrase"].loss(heads["paraphrase"], vectors, labels), expected, atol=1e-6)

    triples = torch.randn(6, 3, 32)
    anchor, positive, negative = heads["cross_reference"](triples).unbind(1)
    near, far = F.cosine_similarity(anchor, positive), F.cosine_similarity(anchor, negative)
    expected = sum(max(0.0, 0.5 + (b - a).item()) for a, b in zip(near, far, strict=True)) / 6
    task = tasks["cross_reference"]
    task.kind = "hinge"
    assert task.loss(heads["cross_reference"], triples, None).item() == pytest.approx(expected, abs=1e-5)
    task.kind = "infonce"
    every = F.normalize(torch.cat([positive, negative]), dim=-1)
    scores = F.normalize(anchor, dim=-1) @ every.mT / task.temperature
    expected = -scores.log_softmax(1).diagonal().mean()
    assert task.loss(heads["cross_reference"], triples, None).item() == pytest.approx(expected.item(), abs=1e-5)

    def answers(vectors):
        return vectors  # a head that rounds nothing

    with torch.autocast("cpu", dtype=torch.bfloat16):  # in which cosines near 1 would differ by steps of 0.004
        near_one = torch.ones(6, 3, 32) + 0.02 * triples
        mixed = task.loss(answers, near_one, None).item()
    assert mixed == task.loss(answers, near_one, None).item()

    right = torch.zeros(6, 12).bool()
    right[0, 3] = right[4, 11] = True  # which an anchor is not pushed away from
    found = task.loss(heads["cross_reference"], triples, None, right).item()
    every = [scores[row].masked_fill(right[row], -torch.inf).log_softmax(0)[row] for row in range(6)]
    assert found == pytest.approx(-torch.stack(every).mean().item(), abs=1e-5)


def test_the_heads_have_the_sizes_of_the_original():
    """Section 2.7: what the original's three heads have at the widths of its presets."""
    for width, classifier, projector in (
        (384, 1_312_769, 295_680),
        (768, 2_099_201, 1_181_184),
        (896, 2_361_345, 1_607_424),
    ):
        with torch.device("meta"):
            sizes = [PairClassifier(width), Projector(width), ScaledProjector(width)]
        counted = [sum(one.numel() for one in head.parameters()) for head in sizes]
        assert counted == [classifier, projector, projector]


@pytest.mark.slow
def test_a_loss_scale_multiplies_its_task_and_follows_its_course(data, batches):
    plain = module_of(data, "tasks.coherence.loss_scale=1.0")
    scaled = module_of(data, "tasks.coherence.loss_scale=[[0,2.0],[10,4.0]]")
    scaled.load_state_dict(plain.state_dict())
    plain.eval()
    scaled.eval()
    for name, batch in batches.items():
        factor = 2.0 if name == "coherence" else 1.0
        assert scaled.loss_of(batch).item() == pytest.approx(factor * plain.loss_of(batch).item(), rel=1e-6)
    scaled._trainer = SimpleNamespace(global_step=5)
    assert scaled.loss_of(batches["coherence"]).item() == pytest.approx(
        3 * plain.loss_of(batches["coherence"]).item(), rel=1e-6
    )


@pytest.mark.slow
def test_eight_rows_at_once_and_four_times_two_descend_the_same(tmp_path):
    gradients = []
    for batch, accumulate in ((8, 1), (2, 4)):
        data = data_of(tmp_path, "tasks=lm_only", f"data.batch_size={batch}")
        torch.manual_seed(0)
        module, loader = module_of(data, "tasks=lm_only").double(), data.loader_of()
        loss = sum(module.loss_of(loader.batch(0, index)) for index in range(accumulate)) / accumulate
        gradients.append(torch.autograd.grad(loss, list(module.parameters())))
    assert all(torch.allclose(one, other, atol=1e-12) for one, other in zip(*gradients, strict=True))


@pytest.mark.slow
def test_what_is_declared_follows_the_tasks(config, data):
    def declared(*overrides):
        return [
            one.name
            for one in DeepNarrowModule.declared_metrics(config("experiment=multitask_debug", *overrides).model)
        ]

    language = [one.name for one in HONEST]
    assert declared("tasks=four")[: len(language)] == language
    assert {"val/coherence/auroc", "val/cross_reference/mrr", "val/paraphrase/recall_at_1"} < set(
        declared("tasks=four")
    )
    assert declared("tasks=paraphrase")[0] == "val/paraphrase/accuracy" and "val/loss" in declared("tasks=paraphrase")
    assert not any("coherence" in name for name in declared("tasks=lm_only"))
    never = declared("tasks=four", "tasks.paraphrase.weight=0", "tasks.coherence.weight=[[0,0],[9,0]]")
    assert not any("paraphrase" in name or "coherence" in name for name in never) and "val/loss_mixture" in never
    idle = "tasks.coherence.weight=0"
    assert [one.name for one in module_of(data, idle).declared] == declared(*SMALL[1:], idle)
    later = declared("tasks=four", "tasks.paraphrase.weight=[[0,0],[9,0.1]]")
    assert {"val/paraphrase/accuracy", "val/paraphrase/loss"} < {*later}
    assert "val/loss_mixture" not in declared("tasks=[lm,coherence]", "tasks.coherence.weight=0")
    better = {
        one.name: one.better for one in DeepNarrowModule.declared_metrics(config("experiment=multitask_debug").model)
    }
    assert better["val/coherence/accuracy"] == better["val/cross_reference/recall_at_10"] == HIGHER


def test_an_unknown_pooling_is_refused(data):
    with pytest.raises(UserError, match="pooling=sum: one of mean last"):
        module_of(data, "model.pooling=sum")


def perfect(task, examples, side, judged):
    return task.measured("x", judged, Examples(*examples), side)


def test_metrics_of_judgements_by_hand(data):
    side, task = data.sides[VALIDATION], data.tasks["coherence"]
    examples = task.draw(side, 40, torch_draws())
    labels = torch.tensor(examples.labels)
    right = perfect(task, examples, side, labels * 2 - 1)
    assert right["val/x/accuracy"] == right["val/x/auroc"] == 1.0 and right["val/x/accuracy_se"] == 0
    wrong = perfect(task, examples, side, 1 - labels * 2)
    assert wrong["val/x/accuracy"] == wrong["val/x/auroc"] == 0.0
    half = labels * 2 - 1
    half[::2] *= -1
    assert perfect(task, examples, side, half)["val/x/accuracy"] == 0.5
    of = {name: perfect(task, examples, side, half)[f"val/x/accuracy/{name}"] for name in ("aa", "bb")}
    counts = [(examples.translations[:, 0] == number).sum() for number in (0, 1)]
    assert sum(count * of[name] for count, name in zip(counts, of, strict=True)) / 40 == pytest.approx(0.5)
    assert task.chances("x", examples, side) == {"val/x/accuracy": 0.5, "val/x/auroc": 0.5}


def torch_draws():
    import numpy as np

    return np.random.default_rng(4)


def test_metrics_of_references_by_hand(data):
    side, task = data.sides[VALIDATION], data.tasks["cross_reference"]
    examples = task.draw(side, 40, torch_draws())
    torch.manual_seed(0)
    vectors = torch.randn(40, 3, 16)
    places = {
        key: torch.randn(16) for key in {*zip(examples.translations.ravel(), examples.places.ravel(), strict=True)}
    }
    for row in range(40):
        for member in range(3):
            vectors[row, member] = places[examples.translations[row, member], examples.places[row, member]]
    found = task.measured("x", vectors, examples, side)
    cosines = F.cosine_similarity
    margins = cosines(vectors[:, 0], vectors[:, 1]) - cosines(vectors[:, 0], vectors[:, 2])
    assert found["val/x/accuracy"] == pytest.approx(float((margins > 0).float().mean()))
    assert found["val/x/margin"] == pytest.approx(float(margins.mean()), abs=1e-6)
    ranks, chances = [], []
    for row in range(40):
        translation, anchor, positive = examples.translations[row, 0], *examples.places[row, :2]
        candidates = {
            place
            for other in range(40)
            for place in examples.places[other, 1:].tolist()
            if examples.translations[other, 0] == translation
        }
        candidates -= {int(anchor), *side.links_of(int(anchor))[0].tolist()} - {int(positive)}
        own = cosines(vectors[row, 0], vectors[row, 1], dim=0)
        others = [cosines(vectors[row, 0], places[translation, place], dim=0) for place in candidates - {int(positive)}]
        ranks.append(1 + sum(float(one) > float(own) for one in others))
        chances.append(sum(1 / rank for rank in range(1, len(candidates) + 1)) / len(candidates))
    assert found["val/x/mrr"] == pytest.approx(sum(1 / rank for rank in ranks) / 40)
    assert found["val/x/recall_at_10"] == pytest.approx(sum(rank <= 10 for rank in ranks) / 40)
    assert task.chances("x", examples, side)["val/x/mrr"] == pytest.approx(sum(chances) / 40)


def test_metrics_of_paraphrases_by_hand(data):
    side, task = data.sides[VALIDATION], data.tasks["paraphrase"]
    examples = task.draw(side, 40, torch_draws())
    torch.manual_seed(0)
    unit = {place: torch.randn(16) for place in {*examples.places.ravel().tolist()}}
    vectors = torch.stack([torch.stack([unit[place] for place in row]) for row in examples.places.tolist()])
    logits = torch.tensor(examples.labels).float() * 2 - 1
    found = task.measured("x", torch.cat([vectors.flatten(1), logits[:, None]], dim=1), examples, side)
    assert found["val/x/accuracy"] == found["val/x/auroc"] == found["val/x/recall_at_1"] == 1.0
    shuffled = vectors.clone()
    shuffled[:, 1] = torch.randn(40, 16)
    found = task.measured("x", torch.cat([shuffled.flatten(1), logits[:, None]], dim=1), examples, side)
    assert found["val/x/recall_at_1"] < 0.4
    positives = [
        (place, asked)
        for place, asked, label in zip(examples.places[:, 0], examples.translations[:, 1], examples.labels, strict=True)
        if label
    ]
    candidates = [
        1 + sum(other != place and language == asked for other, language in positives) for place, asked in positives
    ]
    chance = sum(1 / count for count in candidates) / len(candidates)
    assert task.chances("x", examples, side)["val/x/recall_at_1"] == pytest.approx(chance)
