"""What is added to heads, by value: an attention with it against the same written out a number at a time."""

import cmath
import itertools
import math

import pytest
import torch

from frontpage.attention.additions.exclusive import ExclusiveHeads
from frontpage.attention.additions.gates import Gates
from frontpage.attention.additions.head_gate import GatedHeads
from frontpage.attention.additions.shifted_keys import ShiftedKeys
from frontpage.attention.additions.value_embeddings import EmbeddedValues
from frontpage.attention.causal import CausalAttention
from frontpage.attention.differential import DifferentialAttention
from frontpage.attention.gated import GatedAttention

C, EMBEDDING, HEADS, GROUPS, D, TURNED, TIME = 16, 6, 4, 2, 4, 2, 7
IDS = torch.tensor([0, 0, 0, 1, 2, 2, 2])
PARTS = {
    "value_embeddings": lambda attention: EmbeddedValues(attention, EMBEDDING, gate_width=5),
    "head_gate": lambda attention: GatedHeads(attention, gate_width=3),
    "exclusive": ExclusiveHeads,
    "shifted_keys": ShiftedKeys,
}
CHOSEN = [list(chosen) for size in (0, 1, 2, 4) for chosen in itertools.combinations(PARTS, size)]


@pytest.fixture(autouse=True)
def exact():
    """float64 everywhere, the tables of rotary positions included."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def attention_with(*names):
    """With random weights everywhere."""
    torch.manual_seed(0)
    attention = CausalAttention(C, HEADS, 16, n_kv_head=GROUPS, rotary=True, rotary_share=TURNED / D)
    for name in names:
        attention.add(name, PARTS[name](attention))
    with torch.no_grad():
        for weight in attention.parameters():
            weight.copy_(torch.randn_like(weight))
    return attention


def states():
    """What the layer reads (T, C), and the embedded tokens."""
    return torch.randn(TIME, C + EMBEDDING, generator=torch.Generator().manual_seed(1)).split((C, EMBEDDING), dim=-1)


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def by_hand(attention, x, first, ids):
    """What the attention gives for one row (T, C), with the formulas of its additions."""
    parts = attention.additions
    place = [sum(bool(ids[s] == ids[t]) for s in range(t)) for t in range(TIME)]
    qkv = x @ attention.qkv.weight.T + attention.qkv.bias
    q, k, v = qkv[:, : HEADS * D], qkv[:, HEADS * D : (HEADS + GROUPS) * D], qkv[:, (HEADS + GROUPS) * D :]
    q = [[q[t, h * D : (h + 1) * D].tolist() for h in range(HEADS)] for t in range(TIME)]
    k, v = ([[part[t, g * D : (g + 1) * D].tolist() for g in range(GROUPS)] for t in range(TIME)] for part in (k, v))
    for t, vectors in itertools.product(range(TIME), (q, k)):
        for vector in vectors[t]:  # of four numbers two are turned, by the position itself
            turned = complex(*vector[:TURNED]) * cmath.exp(1j * place[t])
            vector[:TURNED] = turned.real, turned.imag
    if "shifted_keys" in parts:
        k = [[k[t][g][:TURNED] + k[t - (place[t] > 0)][g][TURNED:] for g in range(GROUPS)] for t in range(TIME)]
    if "value_embeddings" in parts:
        weight, gates = parts["value_embeddings"].projection.weight, parts["value_embeddings"].gates.linear.weight
        for t, g, i in itertools.product(range(TIME), range(GROUPS), range(D)):
            factor = 2 * sigmoid(float(gates[g] @ x[t, :5]))
            v[t][g][i] += factor * float(weight[g * D + i] @ first[t])
    rows = torch.zeros(TIME, HEADS * D)
    for t, h in itertools.product(range(TIME), range(HEADS)):
        g = h // (HEADS // GROUPS)
        seen = [s for s in range(t + 1) if ids[s] == ids[t]]
        weights = [math.exp(sum(a * b for a, b in zip(q[t][h], k[s][g], strict=True)) / math.sqrt(D)) for s in seen]
        y = [sum(w * v[s][g][i] for w, s in zip(weights, seen, strict=True)) / sum(weights) for i in range(D)]
        for name in parts:  # in the order in which they were added
            if name == "exclusive":
                length = math.sqrt(sum(one * one for one in v[t][g]))
                unit = [one / length for one in v[t][g]]
                along = math.tanh(float(parts[name].alpha[h])) * sum(a * b for a, b in zip(y, unit, strict=True))
                y = [a - along * b for a, b in zip(y, unit, strict=True)]
            if name == "head_gate":
                y = [sigmoid(float(parts[name].gates.linear.weight[h] @ x[t, :3])) * one for one in y]
        rows[t, h * D : (h + 1) * D] = torch.tensor(y)
    return rows @ attention.out.weight.T + attention.out.bias


@pytest.mark.parametrize("ids", [torch.zeros_like(IDS), IDS], ids=["one document", "documents"])
@pytest.mark.parametrize("names", CHOSEN, ids=lambda names: " ".join(names) or "plain")
@torch.no_grad()
def test_heads_give_what_the_formulas_give(names, ids):
    attention, (x, first) = attention_with(*names), states()
    places = torch.cat([torch.arange(int((ids == one).sum())) for one in ids.unique()])
    found = attention(x[None], document_ids=ids[None], positions=places[None], first=first[None])[0]
    torch.testing.assert_close(found, by_hand(attention, x, first, ids), rtol=0, atol=1e-12)


@torch.no_grad()
def test_at_first_values_gain_the_projection_once_gates_are_half_and_nothing_is_taken_out():
    attention, (x, first) = attention_with(), states()
    v, y = torch.randn(1, GROUPS, TIME, D), torch.randn(1, HEADS, TIME, D)
    embedded, gate, exclusive = (PARTS[name](attention) for name in list(PARTS)[:3])
    projected = (first @ embedded.projection.weight.T).unflatten(-1, (GROUPS, D)).transpose(0, 1)
    torch.testing.assert_close(embedded.values(v, x[None], first[None]), v + projected)
    assert torch.equal(gate.mixed(y, v, x[None]), y / 2)
    assert torch.equal(exclusive.mixed(y, v, x[None]), y)


def test_what_takes_nothing_out_at_first_learns_to():
    exclusive, v, y = ExclusiveHeads(attention_with()), torch.randn(1, GROUPS, TIME, D), torch.randn(1, HEADS, TIME, D)
    exclusive.mixed(y, v, torch.empty(0)).square().sum().backward()
    own = torch.nn.functional.normalize(v, dim=-1).repeat_interleave(2, dim=1)
    torch.testing.assert_close(exclusive.alpha.grad, -2 * (y * own).sum(-1).square().sum(-1)[0])


@torch.no_grad()
def test_all_that_is_taken_out_leaves_nothing_along_the_own_value():
    exclusive, v, y = ExclusiveHeads(attention_with()), torch.randn(1, GROUPS, TIME, D), torch.randn(1, HEADS, TIME, D)
    exclusive.alpha.fill_(20.0)
    rest = (exclusive.mixed(y, v, torch.empty(0)) * v.repeat_interleave(2, dim=1)).sum(-1)
    assert rest.abs().max() < 1e-12
    assert torch.isfinite(exclusive.mixed(y, torch.zeros_like(v), torch.empty(0))).all()


@torch.no_grad()
def test_a_cache_goes_on_with_the_newest_key_however_the_tokens_come():
    attention, (x, first) = attention_with("shifted_keys"), states()
    expected = attention(x[None], first=first[None])
    for steps in ([1] * TIME, [2, 1, 4], [TIME]):
        cache, parts = attention.new_cache(), []
        for part, of_first in zip(x.split(steps), first.split(steps), strict=True):
            parts.append(attention(part[None], cache=cache, first=of_first[None]))
        torch.testing.assert_close(torch.cat(parts, dim=1), expected, rtol=0, atol=1e-12)
        kept = cache.newest_key
        assert kept.shape == (1, GROUPS, 1, D - TURNED) and kept.untyped_storage().nbytes() == kept.numel() * 8
        assert kept.numel() == attention.additions["shifted_keys"].cache_numbers(TIME)


def test_gates_wider_than_the_layer_are_refused_under_their_key():
    with pytest.raises(ValueError, match="^addition.head_gate.gate_width=17: at most 16, the width of a layer$"):
        Gates("head_gate", C, 17, HEADS)


@pytest.mark.parametrize(
    ("attention", "fits"),
    [
        (CausalAttention(C, HEADS, 16), True),
        (GatedAttention(C, HEADS, 16, gate="head"), True),
        (GatedAttention(C, HEADS, 16, gate="element"), False),
        (DifferentialAttention(C, HEADS, 16), False),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, bool) else "",
)
def test_only_heads_that_mix_their_values_leave_one_out(attention, fits):
    part = ExclusiveHeads(attention)
    if fits:
        attention.add("exclusive", part)
        assert attention.additions["exclusive"] is part
    else:
        with pytest.raises(ValueError, match="^addition=exclusive: not with the heads of model/attention="):
            attention.add("exclusive", part)


def test_weights_of_additions_are_none_of_the_attentions_own():
    assert attention_with(*PARTS).matrices().keys() == {"query", "key", "value", "out"}
