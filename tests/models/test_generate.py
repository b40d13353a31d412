"""Invented titles: fixed by the seed, with the probability the model gives them, and without a trace on training."""

import math
import random

import numpy as np
import pytest
import torch

from frontpage.attention.causal import CausalAttention
from frontpage.data.tokenizer.bpe import bpe
from frontpage.models.generate import Draft, generate
from frontpage.recipe.modules import GPTModule

BLOCK = 20
TITLES = ["Show HN: a parser for poets", "Ask HN: what is a poet?", "A parser", "東京 is a parser – “ok”"] * 3


class Recording:
    """A tokenizer that keeps the ids it was asked to decode."""

    def __init__(self, tokenizer):
        self._tokenizer, self.decoded = tokenizer, []

    def __getattr__(self, name):
        return getattr(self._tokenizer, name)

    def decode(self, ids):
        self.decoded.append(list(ids))
        return self._tokenizer.decode(ids)


@pytest.fixture(scope="module")
def trained_tokenizer():
    return bpe(TITLES, 330)


@pytest.fixture
def tokenizer(trained_tokenizer):
    return Recording(trained_tokenizer)


def prefer(module, token, logit):
    """Add `logit` to one token's score everywhere."""
    with torch.no_grad():
        module.net.final_norm.bias[0] = 1.0
        module.net.head.weight[:, 0] = 0.0
        module.net.final_norm.weight[0] = 0.0
        module.net.head.weight[token, 0] = logit


@pytest.fixture
def module(trained_tokenizer):
    """A GPT with large random weights: its choices are far from uniform, and titles end after a few tokens."""
    torch.manual_seed(0)
    module = GPTModule(
        optimizer=torch.optim.SGD,
        scheduler=torch.optim.lr_scheduler.LambdaLR,
        vocab_size=trained_tokenizer.vocab_size,
        block_size=BLOCK,
        d_model=32,
        n_layer=2,
        n_head=4,
        attention=CausalAttention,
        init_std=0.4,
        tie_embeddings=False,
        dropout=0.5,
    )
    prefer(module, trained_tokenizer.eos_id, 5.0)
    return module


def log_prob_of(module, tokenizer, path, ended):
    """The log-probability of a path of ids from one forward over all of it, in evaluation mode."""
    with torch.no_grad():
        targets = [*path, tokenizer.eos_id] if ended else path
        logits = module.eval().net(torch.tensor([[tokenizer.eos_id, *targets[:-1]]]))[0].double()
    return sum(float(row.log_softmax(-1)[target]) for row, target in zip(logits, targets, strict=True))


def likeliest(module, tokenizer, start, count):
    """The greedy path in a plain loop, without a cache: (ids after the start, whether it ended)."""
    module.eval()
    path = list(start)
    for _ in range(count):
        with torch.no_grad():
            scores = module(torch.tensor([[tokenizer.eos_id, *path]]))[0, -1]
        ranked = scores.argsort(descending=True).tolist()
        best = next(token for token in ranked if token not in (tokenizer.pad_id, tokenizer.unk_id))
        if best == tokenizer.eos_id:
            return path, True
        path.append(best)
    return path, False


def test_a_seed_fixes_the_titles(module, tokenizer):
    first = generate(module, tokenizer, num=12, seed=3)
    assert generate(module, tokenizer, num=12, seed=3) == first
    assert generate(module, tokenizer, num=12, seed=4) != first
    assert len({one.title for one in first}) > 3


@pytest.mark.parametrize("settings", [{}, {"prompt": "Ask HN", "temperature": 1.5, "top_p": 0.9}])
def test_a_title_is_the_same_however_many_are_asked_for_and_whichever_are_computed_together(
    module, tokenizer, settings
):
    together = generate(module, tokenizer, num=13, seed=3, **settings)
    for number, batch_size in ((13, 1), (13, 5), (7, 64), (1, 64)):
        found = generate(module, tokenizer, num=number, batch_size=batch_size, seed=3, **settings)
        assert [one.title for one in found] == [one.title for one in together[:number]]
        expected = [one.log_prob for one in together[:number]]
        assert [one.log_prob for one in found] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("prompt", ["", "Show HN", "A"])
def test_temperature_zero_is_the_naive_loop(module, tokenizer, prompt):
    start = tokenizer.encode(prompt) if prompt else []
    for logit in (-5.0, 9.0):
        prefer(module, tokenizer.eos_id, logit)
        found = generate(module, tokenizer, prompt=prompt, num=2, temperature=0)
        path, ended = likeliest(module, tokenizer, start, BLOCK - len(start))
        assert tokenizer.decoded[-2:] == [path, path]
        assert {one.title for one in found} == {tokenizer.decode(path)}
        assert found[0].log_prob == pytest.approx(log_prob_of(module, tokenizer, path, ended), abs=1e-4)


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.7, "top_k": 5}, {"prompt": "Ask HN"}, {"max_tokens": 3}])
def test_a_log_probability_is_that_of_one_forward_over_the_title(module, tokenizer, settings):
    """Of the model itself, whatever the temperature and `top_k` of the sampling, with prompt and end."""
    found = generate(module, tokenizer, num=12, seed=1, **settings)
    paths, lengths = tokenizer.decoded, set()
    start = len(tokenizer.encode(settings.get("prompt", "")))
    room = min(BLOCK - start, settings.get("max_tokens", BLOCK))
    for one, path in zip(found, paths, strict=True):
        ended = len(path) - start < room
        lengths.add((len(path), ended))
        assert one.log_prob == pytest.approx(log_prob_of(module, tokenizer, path, ended), abs=1e-4)
    assert len(lengths) > 1  # rows that end early go on being filled up, and must not count that


def test_the_log_probability_of_a_title_is_that_of_its_encoding(module, tokenizer):
    checked = 0
    for one in generate(module, tokenizer, prompt="A parser", num=30, seed=2):
        path = tokenizer.encode(one.title)
        if path in tokenizer.decoded and len(path) < BLOCK:
            assert one.log_prob == pytest.approx(log_prob_of(module, tokenizer, path, True), abs=1e-4)
            checked += 1
    assert checked > 3


@pytest.mark.parametrize("prompt", ["Show HN: a", "東京 “", "<eos> <pad>", "A parser f", "x"])
def test_a_title_begins_with_its_prompt(module, tokenizer, prompt):
    for one in generate(module, tokenizer, prompt=prompt, num=5, temperature=2.0):
        assert one.title.startswith(prompt)


@pytest.mark.parametrize("temperature", [0, 1.0, 50.0])
def test_pad_and_unk_are_never_written_however_likely(module, tokenizer, temperature):
    with torch.no_grad():
        module.net.head.weight[[tokenizer.pad_id, tokenizer.unk_id], 0] = 30.0
    generate(module, tokenizer, num=20, temperature=temperature)
    written = {token for path in tokenizer.decoded for token in path}
    assert written and not written & {tokenizer.pad_id, tokenizer.eos_id, tokenizer.unk_id}


def test_top_k_keeps_the_k_likeliest_and_one_is_greedy(module, tokenizer):
    greedy = generate(module, tokenizer, num=1, temperature=0)
    assert generate(module, tokenizer, num=1, top_k=1, temperature=5.0) == greedy
    everything = generate(module, tokenizer, num=4)
    assert generate(module, tokenizer, num=4, top_k=10_000) == everything
    module.eval()
    with torch.no_grad():
        first = module(torch.tensor([[tokenizer.eos_id]]))[0, -1]
    allowed = [token for token in first.argsort(descending=True).tolist() if token not in (0, 2)][:4]
    tokenizer.decoded.clear()
    generate(module, tokenizer, num=60, top_k=4, temperature=100.0)
    begun = {path[0] if path else tokenizer.eos_id for path in tokenizer.decoded}
    assert begun == set(allowed)


@pytest.mark.slow
def test_sampling_follows_the_probabilities(module, tokenizer):
    module.eval()
    with torch.no_grad():
        logits = module(torch.tensor([[tokenizer.eos_id]]))[0, -1].double()
    logits[[0, 2]] = -torch.inf
    probabilities = (logits / 0.8).softmax(-1)
    generate(module, tokenizer, num=4000, temperature=0.8, max_tokens=1)
    counts = torch.zeros_like(probabilities)
    for path in tokenizer.decoded:
        counts[path[0] if path else tokenizer.eos_id] += 1
    deviation = (4000 * probabilities * (1 - probabilities)).sqrt()
    assert counts.count_nonzero() > 10
    assert ((counts - 4000 * probabilities).abs() <= 5 * deviation + 1).all()


def test_max_tokens_and_the_block_bound_a_title(module, tokenizer):
    prefer(module, tokenizer.eos_id, -50.0)
    for bound, length in ((1, 1), (5, 5), (None, BLOCK), (100, BLOCK)):
        tokenizer.decoded.clear()
        generate(module, tokenizer, num=2, max_tokens=bound)
        assert [len(path) for path in tokenizer.decoded] == [length, length]


def test_a_prompt_may_leave_room_for_one_token_but_not_for_none(module, tokenizer):
    prefer(module, tokenizer.eos_id, -50.0)
    prompt = "x" * (BLOCK - 2)
    assert len(tokenizer.encode(prompt)) == BLOCK - 1
    generate(module, tokenizer, prompt=prompt, num=1)
    assert len(tokenizer.decoded[-1]) == BLOCK
    for heal in (False, True):
        with pytest.raises(ValueError, match=f"{BLOCK} tokens fill the block of {BLOCK}"):
            generate(module, tokenizer, prompt=prompt + "x", heal=heal)


@pytest.mark.parametrize(("prompt", "said"), [(" A", "no title begins with a blank"), ("A\udc80", "not valid UTF-8")])
def test_a_prompt_that_would_not_come_back_is_refused(module, tokenizer, prompt, said):
    with pytest.raises(ValueError, match=f"^prompt=.*{said}"):
        generate(module, tokenizer, prompt=prompt)


def test_titles_can_be_watched_as_they_are_written(module, tokenizer):
    draft = Draft(module, tokenizer, "A pars", num=6, seed=2)
    before, texts, steps = draft.titles(), [], 0
    for step in draft:
        steps += 1
        texts.append([one.title for one in draft.titles()])
        assert step.tokens.shape == (6,) and step.log_probs.shape == (6, tokenizer.vocab_size)
        assert (step.tokens[step.ended] == tokenizer.eos_id).all()
    assert {one.title for one in before} == {"A pars"}
    assert draft.titles() == generate(module, tokenizer, prompt="A pars", num=6, seed=2)
    assert steps == len(draft.written) > 2 and texts[-1] == [one.title for one in draft.titles()]
    assert {one.ended for one in draft.titles()} <= {True, False}
    with pytest.raises(StopIteration):
        generator = iter(Draft(module.train(), tokenizer, num=1, max_tokens=1))
        next(generator)
        next(generator)
    assert module.training  # also where nobody looks at the end:
    abandoned = iter(Draft(module, tokenizer, num=1))
    next(abandoned)
    abandoned.close()
    assert module.training


def test_a_healed_prompt_may_end_within_a_word(module, tokenizer):
    """Its last token is chosen anew among those that begin like it, as likely as the model finds them."""
    ids = tokenizer.encode("A pa")
    allowed = tokenizer.beginning_like(ids[-1])
    assert 1 < allowed.sum() < 20
    tokenizer.decoded.clear()
    found = generate(module, tokenizer, prompt="A pa", num=200, heal=True, temperature=3.0)
    assert all(one.title.startswith("A pa") for one in found)
    chosen = {path[len(ids) - 1] for path in tokenizer.decoded}
    assert chosen == set(allowed.nonzero().flatten().tolist())
    with torch.no_grad():
        scores = module.eval()(torch.tensor([[tokenizer.eos_id, *ids[:-1]]]))[0, -1]
    likeliest = int(scores.masked_fill(~allowed, -torch.inf).argmax())
    tokenizer.decoded.clear()
    (greedy,) = generate(module, tokenizer, prompt="A pa", num=1, heal=True, temperature=0)
    path = tokenizer.decoded[-1]
    assert path[len(ids) - 1] == likeliest
    assert greedy.log_prob == pytest.approx(log_prob_of(module, tokenizer, path, greedy.ended), abs=1e-4)


def test_a_penalty_counts_what_the_title_has_and_not_the_token_that_opens_every_title(module, tokenizer):
    tokenizer.decoded.clear()
    generate(module, tokenizer, prompt="A parser", num=30, repetition_penalty=1e9, temperature=0.5)
    start, lengths = len(tokenizer.encode("A parser")), set()
    for path in tokenizer.decoded:
        assert len({*path}) >= len(path) - 1 if len(path) == BLOCK else len({*path}) == len(path)
        lengths.add(len(path))
    assert min(lengths) < BLOCK and start < max(lengths)


@pytest.mark.parametrize("training", [True, False])
def test_nothing_is_left_behind_in_a_run_that_trains(module, tokenizer, training):
    module.train(training)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    titles = generate(module, tokenizer, num=4, seed=5)
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])
    assert all(part.training == training for part in module.modules())
    assert all(weight.grad is None for weight in module.parameters())
    torch.manual_seed(99)
    assert generate(module.train(not training), tokenizer, num=4, seed=5) == titles  # no dropout in either mode


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": -0.1},
        {"temperature": math.nan},
        {"top_k": 0},
        {"top_k": 1.5},
        {"top_p": 0},
        {"top_p": 1.01},
        {"min_p": -0.1},
        {"min_p": 1},
        {"repetition_penalty": 0},
        {"num": 0},
        {"batch_size": 0},
        {"max_tokens": 0},
        {"max_tokens": -1},
    ],
)
def test_settings_that_mean_nothing_are_refused(module, tokenizer, settings):
    ((name, value),) = settings.items()
    with pytest.raises(ValueError, match=f"{name}={value}"):
        generate(module.train(), tokenizer, **settings)
    assert module.net.training
