"""What the playground's page is told: the runs, and titles token by token, as plain values for JSON."""

import codecs
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor

from frontpage.command.errors import BadValue, UserError, nearest
from frontpage.evaluation.scored_tokens import likeliest, ranks
from frontpage.models.generate import Draft
from frontpage.models.sampling import RANGES, Sampling
from frontpage.recipe.language_module import LanguageModule
from frontpage.runs.training_titles import seen_in_training

ALTERNATIVES = 5  # shown for each token
MOST_TITLES = 12  # of one answer
DEFAULTS = {
    "run": 0,  # place of the run on the command line
    "prompt": "",
    "num": 5,
    "seed": 0,
    "temperature": 1.0,
    "top_k": None,
    "top_p": None,
    "min_p": None,
    "repetition_penalty": 1.0,
}
WHOLE = {"run": (0, 1), "num": (1, MOST_TITLES), "seed": (0, 2**53 - 1)}  # least and most; JavaScript counts so far


@dataclass(frozen=True)
class OpenRun:
    """A run that has been reopened: its name here, and what `reopen` gives."""

    name: str
    config: DictConfig
    module: LanguageModule
    known: np.ndarray | None  # hashes of its training titles


def described(run: OpenRun) -> dict[str, Any]:
    """What the page says of a run."""
    net = run.module.net
    return {
        "name": run.name,
        "parameters": sum(weight.numel() for weight in net.parameters()),
        "vocab_size": net.vocab_size,
        "block_size": net.block_size,
    }


def read_settings(asked: object, runs: int) -> dict[str, Any]:
    """The settings that a page asks for, defaults added; a UserError for what is no setting or has no such value."""
    if not isinstance(asked, dict):
        raise UserError("the request must be a JSON object")
    for key in asked:
        if key not in DEFAULTS:
            raise UserError(f"{key}: not a setting{nearest(key, DEFAULTS)}; allowed: {' '.join(DEFAULTS)}")
    settings = DEFAULTS | asked
    for key, (least, most) in WHOLE.items():
        value, most = settings[key], runs - 1 if key == "run" else most
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not (whole and least <= value <= most):
            raise BadValue(key, value, f"a whole number from {least} to {most}")
    if not isinstance(settings["prompt"], str):
        raise BadValue("prompt", settings["prompt"], "a text")
    return settings


def continuations(run: OpenRun, settings: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """First the prompt's tokens, then one more token of each title at a time, at last the titles.

    The prompt may end within a word. Raises UserError, before the first of them, for settings that mean nothing.
    """
    tokenizer = run.module.tokenizer
    try:
        sampling = Sampling(**{name: settings[name] for name in RANGES})
        draft = Draft(
            run.module,
            tokenizer,
            settings["prompt"],
            num=settings["num"],
            sampling=sampling,
            seed=settings["seed"],
            heal=True,
        )
    except ValueError as error:
        raise UserError(str(error)) from error
    return _events(run, draft)


def _events(run: OpenRun, draft: Draft) -> Iterator[dict[str, Any]]:
    # A token may end within a character, which is shown with the token that completes it.
    decoders = [codecs.getincrementaldecoder("utf-8")("replace") for _ in draft.ended]
    for place, step in enumerate(draft):
        if place == 0:
            prompt = torch.tensor(draft.start[1:], dtype=torch.int64)
            yield {"prompt": _shown(run, prompt, draft.prompt_log_probs, decoders[:1] * len(prompt))}
            state = decoders[0].getstate()
            for decoder in decoders:
                decoder.setstate(state)
        going = (~step.ended).nonzero()[:, 0]
        titles = going.tolist()
        shown = _shown(run, step.tokens[going], step.log_probs[going], [decoders[title] for title in titles])
        yield {"tokens": [{"title": title, **token} for title, token in zip(titles, shown, strict=True)]}
    invented = draft.titles()
    seen = [None] * len(invented)
    if run.known is not None:
        seen = seen_in_training([one.title for one in invented], run.known).tolist()
    yield {"titles": [one._asdict() | {"in_training": mark} for one, mark in zip(invented, seen, strict=True)]}


def _shown(
    run: OpenRun, tokens: Tensor, log_probs: Tensor, decoders: list[codecs.IncrementalDecoder]
) -> list[dict[str, Any]]:
    """Tokens (N,) drawn from (N, V): the text that each adds, its nats and rank, and what was likely instead."""
    spelled = run.module.tokenizer.readable
    nats = (-log_probs.gather(1, tokens[:, None])[:, 0]).tolist()
    columns = (tokens.tolist(), nats, ranks(log_probs, tokens), likeliest(log_probs, ALTERNATIVES), decoders)
    return [
        {
            "text": decoder.decode(run.module.tokenizer.spelled(token)),
            "spelling": spelled(token),
            "nats": cost,
            "rank": rank,
            "alternatives": [{"spelling": spelled(other), "probability": math.exp(-worth)} for other, worth in others],
        }
        for token, cost, rank, others, decoder in zip(*columns, strict=True)
    ]
