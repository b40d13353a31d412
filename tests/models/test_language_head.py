"""Promises of model.logit_cap: it holds wherever logits are computed, and a net without it is as it was."""

import pytest
import torch
from optimizers import TIME, VOCABULARY, module_of
from technique_parts import Tokens, titles
from tiny import architectures, composed
from torch.nn import functional as F

from frontpage.command.build import build
from frontpage.data.packing import IGNORED
from frontpage.data.scoring_rows import ScoringBatch
from frontpage.models.generate import Draft

CAP = 0.05


@pytest.fixture
def pair():
    """The same weights with a cap and without."""
    found = module_of(logit_cap=CAP).eval(), module_of().eval()
    with torch.no_grad():
        for module in found:
            module.net.head.weight.mul_(20)
    return found


def capped_logits(plain, batch):
    return CAP * torch.tanh(plain.net(batch.inputs, batch.document_ids, batch.positions) / CAP)


@pytest.mark.parametrize("model", architectures())
def test_every_architecture_caps_its_logits(model):
    config = composed("data=synthetic", f"model={model}", "model.d_model=32", "model.n_head=4", "model.logit_cap=0.01")
    module = build(config.model, "model", vocab_size=300).eval()
    logits = module(torch.arange(40).view(2, 20))
    assert 0.005 < logits.abs().max().item() <= 0.01


def test_training_scores_and_logits_are_capped_alike(pair):
    capped, plain = pair
    batch = titles()
    logits = capped_logits(plain, batch)
    torch.testing.assert_close(capped.net(batch.inputs, batch.document_ids, batch.positions), logits)
    scored = batch.targets != IGNORED
    nats = F.cross_entropy(logits[scored], batch.targets[scored], reduction="none")
    torch.testing.assert_close(capped.train().loss_of(batch), nats.mean())
    scoring = ScoringBatch(*batch, titles=batch.document_ids)
    torch.testing.assert_close(capped.eval().score(scoring)[0], nats)
    assert not torch.allclose(plain.score(scoring)[0], nats, atol=1e-3)


def test_generation_draws_from_capped_logits(pair):
    class Writer(Tokens):
        never_written = [Tokens.unk_id]

    capped, plain = pair
    start = torch.tensor([[Writer.eos_id]])
    expected = (CAP * torch.tanh(plain.net(start)[0, 0] / CAP)).log_softmax(-1)
    torch.testing.assert_close(next(iter(Draft(capped, Writer(), num=1))).log_probs[0], expected)


def test_a_cap_that_is_none_changes_nothing():
    tokens = torch.arange(2 * TIME).view(2, TIME) % VOCABULARY
    module = module_of().eval()
    assert torch.equal(module(tokens), F.linear(module.net.hidden(tokens), module.net.head.weight))
    with pytest.raises(ValueError, match="logit_cap=0: above 0"):
        module_of(logit_cap=0)
