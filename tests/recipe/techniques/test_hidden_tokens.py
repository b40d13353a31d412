"""Token and span dropout: how many places are hidden, in how long spans, and what is never touched."""

import pytest
import torch
from technique_parts import EOS, UNK, Tokens, technique, titles, with_techniques

from frontpage.recipe.techniques.span_dropout import SpanDropout
from frontpage.recipe.techniques.token_dropout import TokenDropout

NAMES = ["token_dropout", "span_dropout"]


def spans_of(hidden):
    """The lengths of the runs of hidden places of (B, T) that neither begin nor end a row."""
    lengths = []
    for row in hidden.tolist():
        text = "".join("x" if place else " " for place in row).split(" ")
        lengths += [len(run) for run in text[1:-1] if run]
    return torch.tensor(lengths, dtype=torch.float64)


@pytest.mark.parametrize("share", [0.1, 0.5])
@pytest.mark.parametrize("length", [None, 2.0, 5.0])
def test_the_share_and_the_length_of_spans_are_those_asked_for(share, length):
    torch.manual_seed(0)
    chosen = TokenDropout(share=share) if length is None else SpanDropout(share=share, length=length)
    hidden = chosen.hidden(torch.full((400, 1000), 7))
    expected = 1 / (1 - share) if length is None else length
    assert float(hidden.double().mean()) == pytest.approx(share, rel=0.05)
    assert float(hidden[:, 0].double().mean()) == pytest.approx(share, abs=0.08)
    found = spans_of(hidden)
    assert float(found.mean()) == pytest.approx(expected, rel=0.05)
    assert float((found > expected).double().mean()) == pytest.approx((1 - 1 / expected) ** int(expected), abs=0.03)


@pytest.mark.parametrize("name", NAMES)
def test_the_share_is_that_asked_for_where_bf16_is_the_type_of_a_step(name):
    """In which 1/256 is the least that a draw can be told from."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    try:
        hidden = technique(name, share=0.002).hidden(torch.full((2000, 1000), 7))
    finally:
        torch.set_default_dtype(torch.float32)
    assert float(hidden.double().mean()) == pytest.approx(0.002, rel=0.1)


@pytest.mark.parametrize("name", NAMES)
def test_only_inputs_are_hidden_and_never_what_opens_a_title(name):
    chosen, batch = technique(name, share=0.6), titles()
    chosen.connect(Tokens(), 12, None)
    torch.manual_seed(0)
    ever = torch.zeros(2, 12, dtype=torch.bool)
    for _ in range(60):
        read = chosen.read(batch)
        assert all(one is other for one, other in zip(read[1:], batch[1:], strict=True))
        changed = read.inputs != batch.inputs
        assert (read.inputs[changed] == UNK).all()
        ever |= changed
    assert torch.equal(ever, batch.inputs != EOS)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_hidden_is_drawn_from_torchs_random_numbers_for_each_pass(name):
    module = with_techniques({"r_drop": technique("r_drop"), name: technique(name, share=0.4)})
    torch.manual_seed(5)
    read = module.techniques.read(titles())
    assert read.inputs.shape == (4, 12) and not torch.equal(read.inputs[:2], read.inputs[2:])
    assert torch.equal(read.targets, titles().targets.repeat(2, 1))
    again = module.techniques.read(titles())
    torch.manual_seed(5)
    assert torch.equal(module.techniques.read(titles()).inputs, read.inputs)
    assert not torch.equal(again.inputs, read.inputs)


def test_spans_shorter_than_single_draws_are_refused():
    with pytest.raises(ValueError, match="length=1.5: at least 2"):
        SpanDropout(share=0.5, length=1.5)


def test_a_technique_that_nobody_told_of_the_tokens_says_so():
    with pytest.raises(RuntimeError, match="connect"):
        TokenDropout().read(titles())
