"""What each technique descends is its formula over all logits, in value and in the gradient of every weight."""

import pytest
import torch
from technique_parts import NAMES, teacher, technique, titles, with_techniques
from torch.nn import functional as F

import frontpage.evaluation.losses
from frontpage.data.packing import IGNORED
from frontpage.evaluation.losses import next_token_loss
from frontpage.recipe.techniques.composed import Techniques
from frontpage.recipe.techniques.multi_token_prediction import later_targets
from frontpage.recipe.techniques.technique import Moment

SCORED = 18  # targets of the batch


@pytest.fixture(params=[1, 200, 2**23], autouse=True, ids=["a row", "some rows", "all rows"])
def chunks(request, monkeypatch):
    monkeypatch.setitem(frontpage.evaluation.losses.CHUNK_NUMBERS, "cpu", request.param)


def log_shares_of(module, batch):
    """(B, T, V) of one pass."""
    return module.net(batch.inputs, batch.document_ids, batch.positions).log_softmax(-1)


def nats_of(log_shares, targets):
    """Summed over the targets."""
    return F.nll_loss(log_shares.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum")


def same_gradients(module, found, expected):
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    weights = list(module.net.parameters())
    pairs = zip(torch.autograd.grad(found, weights), torch.autograd.grad(expected, weights), strict=True)
    assert all(torch.allclose(one, other, rtol=1e-9, atol=1e-12) for one, other in pairs)


def smoothed(log_shares, batch, share):
    return F.cross_entropy(
        log_shares.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORED, label_smoothing=share, reduction="sum"
    )


def later_nats(log_shares, batch, steps):
    """Place by place: the target `steps` on, where it lies in the row and in the same title."""
    total = 0.0
    for row in range(2):
        for place in range(12 - steps):
            target = batch.targets[row, place + steps]
            if target != IGNORED and batch.document_ids[row, place] == batch.document_ids[row, place + steps]:
                total = total - log_shares[row, place, target]
    return total


def distance(log_shares, batch, teachers, t):
    """t^2 KL(P || Q), summed over the targets."""
    scored = batch.targets != IGNORED
    with torch.no_grad():
        of_teachers = [(log_shares_of(one, batch) / t).softmax(-1) for one in teachers]
        shares = torch.stack(of_teachers).mean(0)
    own = (log_shares / t).log_softmax(-1)
    return t**2 * F.kl_div(own[scored], shares[scored], reduction="sum")


@pytest.mark.parametrize("cap", [None, 0.2])
def test_label_smoothing_is_pytorchs(cap):
    module, batch = (
        with_techniques({"label_smoothing": technique("label_smoothing", share=0.3)}, logit_cap=cap),
        titles(),
    )
    same_gradients(module, module.loss_of(batch), smoothed(log_shares_of(module, batch), batch, 0.3) / SCORED)


def test_r_drop_is_the_mean_of_both_losses_and_the_divergence_of_two_passes():
    module, batch = with_techniques({"r_drop": technique("r_drop", alpha=1.5)}, dropout=0.3), titles()
    torch.manual_seed(7)
    found = module.loss_of(batch)
    torch.manual_seed(7)
    both = module.net(*(field.repeat(2, 1) for field in (batch.inputs, batch.document_ids, batch.positions)))
    one, other = both.log_softmax(-1).chunk(2)
    assert not torch.allclose(one, other)
    scored = batch.targets != IGNORED
    divergence = sum(
        F.kl_div(of[scored], to[scored], log_target=True, reduction="sum") for of, to in ((one, other), (other, one))
    )
    nats = (nats_of(one, batch.targets) + nats_of(other, batch.targets)) / 2
    same_gradients(module, found, (nats + 1.5 * divergence / 2) / SCORED)
    torch.testing.assert_close(module._nats, (nats / SCORED).detach())


@pytest.mark.parametrize("cap", [None, 0.2])
@pytest.mark.parametrize(("seeds", "t"), [([3], 1.0), ([3], 2.0), ([3, 4], 2.0)])
def test_distillation_is_the_divergence_from_the_mean_of_the_teachers(seeds, t, cap):
    settings = {"teacher": [str(seed) for seed in seeds], "temperature": t, "weight": 0.25}
    module, batch = with_techniques({"distillation": technique("distillation", **settings)}, logit_cap=cap), titles()
    log_shares = log_shares_of(module, batch)
    expected = 0.75 * nats_of(log_shares, batch.targets)
    expected = expected + 0.25 * distance(log_shares, batch, [teacher(seed) for seed in seeds], t)
    same_gradients(module, module.loss_of(batch), expected / SCORED)


def test_a_net_that_is_its_teacher_is_at_no_distance():
    module = with_techniques({"distillation": technique("distillation", teacher="5", weight=1.0)})
    module.net.load_state_dict(teacher(5).net.state_dict())
    assert module.loss_of(titles()).item() == pytest.approx(0.0, abs=1e-12)


def test_multi_token_is_the_weighted_nats_of_later_tokens_of_the_title():
    module, batch = (
        with_techniques({"multi_token_prediction": technique("multi_token_prediction", weights=[0.5, 0.3])}),
        titles(),
    )
    log_shares = log_shares_of(module, batch)
    expected = nats_of(log_shares, batch.targets)
    expected = expected + 0.5 * later_nats(log_shares, batch, 1) + 0.3 * later_nats(log_shares, batch, 2)
    same_gradients(module, module.loss_of(batch), expected / SCORED)


def test_later_targets_by_hand():
    batch = titles()
    next_one, *later = batch.targets[0].tolist(), *later_targets(batch, 3).select(1, 0).tolist()
    for steps, found in enumerate(later, start=1):
        reaches = {1: [0, 1, 2, 3, 5, 6, 7, 9, 10], 2: [0, 1, 2, 5, 6, 9], 3: [0, 1, 5]}[steps]
        assert found == [next_one[at + steps] if at in reaches else IGNORED for at in range(12)]
    assert (later_targets(batch, 3)[:, 1, 5:] == IGNORED).all() and (later_targets(batch, 1)[0, 1, :5] >= 0).all()


ALL = {
    "label_smoothing": {"share": 0.2},
    "distillation": {"teacher": "3", "weight": 0.3},
    "multi_token_prediction": {"weights": [0.5]},
    "r_drop": {"alpha": 0.7},
}


@pytest.mark.parametrize("order", [list(ALL), list(reversed(ALL))])
def test_terms_add_up_in_any_order(order):
    module = with_techniques({name: technique(name, **ALL[name]) for name in order}, dropout=0.3)
    batch = titles()
    torch.manual_seed(7)
    found = module.loss_of(batch)
    torch.manual_seed(7)
    both = module.net(*(field.repeat(2, 1) for field in (batch.inputs, batch.document_ids, batch.positions)))
    passes, scored = both.log_softmax(-1).chunk(2), batch.targets != IGNORED
    expected = 0.0
    for one in passes:
        nats = nats_of(one, batch.targets)
        part = (1 - 0.3) * nats + smoothed(one, batch, 0.2) - nats + 0.5 * later_nats(one, batch, 1)
        expected = expected + (part + 0.3 * distance(one, batch, [teacher(3)], 1.0)) / 2
    p, q = (one[scored].exp() for one in passes)
    expected = expected + 0.7 * ((p - q) * (p.log() - q.log())).sum() / 2
    same_gradients(module, found, expected / SCORED)


@pytest.mark.parametrize("name", NAMES)
def test_a_course_and_a_share_of_zero_leave_the_very_loss(name):
    nothing = {
        "label_smoothing": {"share": 0.0},
        "token_dropout": {"share": 0.0},
        "span_dropout": {"share": 0.0},
        "multi_token_prediction": {"weights": [[[0, 0.0], [0.5, 1.0]]]},
        "distillation": {"teacher": "3", "weight": [[0, 0.0], [0.5, 1.0]]},
        "r_drop": {"alpha": [[0, 0.0], [0.5, 1.0]]},
    }
    module, batch = with_techniques({name: technique(name, **nothing[name])}), titles()
    plain = next_token_loss(module.hidden(batch), module.language_head.weight, batch.targets)
    same_gradients(module, module.loss_of(batch), plain)
    if isinstance(nothing[name].get("weights", nothing[name].get("weight", nothing[name].get("alpha"))), list):
        assert module.techniques.chosen[name].term(batch, Moment(0, 100)) is None
        assert module.techniques.chosen[name].term(batch, Moment(1, 100)) is not None


def test_weights_follow_their_courses_over_the_run():
    chosen = {"multi_token_prediction": technique("multi_token_prediction", weights=[[[0, 0.5], [0.5, 0.0]], 0.25])}
    module, batch = with_techniques(chosen), titles()
    hidden, log_shares = module.hidden(batch), log_shares_of(module, batch)
    for update, weight in ((0, 0.5), (25, 0.25), (50, 0.0), (99, 0.0)):
        found, plain = Techniques(chosen).loss(hidden, module.language_head, batch, Moment(update, 100))
        expected = nats_of(log_shares, batch.targets)
        assert plain.item() == pytest.approx(expected.item() / SCORED, rel=1e-12)
        expected = expected + weight * later_nats(log_shares, batch, 1) + 0.25 * later_nats(log_shares, batch, 2)
        assert found.item() == pytest.approx(expected.item() / SCORED, rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_without_targets_has_no_loss(name):
    chosen = technique(name, **({"teacher": "3"} if name == "distillation" else {}))
    module, batch = with_techniques({name: chosen}), titles()
    batch = batch._replace(targets=torch.full_like(batch.targets, IGNORED))
    loss = module.loss_of(batch)
    assert loss.item() == 0.0
    assert all(not gradient.any() for gradient in torch.autograd.grad(loss, list(module.net.parameters())))
