"""Titles that a run invents, shown as they are written, and how many of them are copies."""

import contextlib
import itertools
import shutil
from typing import Any, NamedTuple

import numpy as np

from frontpage.command.console import reader_gone
from frontpage.command.errors import UserError
from frontpage.command.terminal import can_redraw, printable, redrawn
from frontpage.models.generate import Generated, drafts
from frontpage.models.sampling import Sampling
from frontpage.recipe.language_module import LanguageModule
from frontpage.runs.training_titles import seen_in_training


class Wanted(NamedTuple):
    """How many titles, and so many at a time, and how they are drawn; `heal`: the prompt may end within a word."""

    num: int
    batch: int
    sampling: Sampling
    max_tokens: int | None
    heal: bool
    stop_unread: bool = False  # end where nobody reads them any more


def invent(
    wanted: Wanted, module: LanguageModule, known: np.ndarray | None, prompt: str, seed: int
) -> list[dict[str, Any]]:
    """The titles of one prompt, shown as they are written where stdout is a terminal."""
    watch = redrawn if can_redraw() else contextlib.nullcontext
    lines = max(shutil.get_terminal_size().lines - 1, 1)
    together = min(wanted.batch, lines) if can_redraw() else wanted.batch
    settings = {"sampling": wanted.sampling, "max_tokens": wanted.max_tokens, "seed": seed, "heal": wanted.heal}
    batches = drafts(module, module.tokenizer, prompt, wanted.num, together, **settings)
    try:
        first = next(batches)
    except ValueError as error:
        raise UserError(f"--{error}") from error
    print(f"{'log prob':>9}   title{'' if known is None else ' (*: a training title)'}", flush=True)
    result = []
    for draft in itertools.chain([first], batches):
        with watch() as show:
            for _ in draft:
                if show is not None:
                    show([line(one) for one in draft.titles()])
        result += finished(draft.titles(), known)
        if wanted.stop_unread and reader_gone():
            break
    return result


def finished(titles: list[Generated], known: np.ndarray | None) -> list[dict[str, Any]]:
    """Print titles whose last token is written, and give them as they stand in the JSON."""
    seen = [None] * len(titles) if known is None else seen_in_training([one.title for one in titles], known).tolist()
    for one, mark in zip(titles, seen, strict=True):
        print(line(one, mark), flush=True)
    return [one._asdict() | {"in_training": mark} for one, mark in zip(titles, seen, strict=True)]


def line(one: Generated, seen: bool | None = None) -> str:
    """A title as it is printed; three dots where it has not ended."""
    return f"{one.log_prob:9.2f} {'*' if seen else ' '} {printable(one.title)}{'' if one.ended else '...'}"


def novelty(result: list[dict[str, Any]]) -> str:
    """How many of the titles are copies: of training titles, and of each other."""
    many, distinct = len(result), len({one["title"] for one in result})
    seen = [one["in_training"] for one in result]
    copied = "unknown" if None in seen else f"{sum(seen)} of {many}" + (f" ({sum(seen) / many:.1%})" if many else "")
    return f"in the training set: {copied}; different titles: {distinct} of {many}"
