"""Let a run invent titles: `python scripts/generate.py <run> --prompt "Show HN:" --num 5 --seed 0`."""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

import argparse
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from frontpage.command.console import reader_gone
from frontpage.command.errors import UserError
from frontpage.command.notices import notice
from frontpage.command.terminal import Redrawn, can_redraw, printable, typed_lines
from frontpage.models.generate import BATCH, Generated, drafts
from frontpage.models.sampling import RANGES, Sampling, fits
from frontpage.recipe.language_module import LanguageModule
from frontpage.runs.run_arguments import RunArguments, number, reopen, save_json
from frontpage.runs.training_titles import seen_in_training

MOST_SEED = 2**63 - 1
INTERACTIVE = "type the beginning of a title (nothing: any title), then Enter; Ctrl-D ends"


def main() -> None:
    """Titles with the natural log of their probability, and a star for each that is a training title."""
    parser = RunArguments(
        "Titles invented by a run; the same seed gives the same titles.", ("title", "log_prob", "in_training")
    )
    parser.add_argument(
        "--prompt", action="append", help="what every title begins with; without it they begin as they like"
    )
    parser.add_argument("--interactive", action="store_true", help="ask for one prompt after another")
    parser.add_argument("--num", type=number(int, 1), default=5, help="how many titles (5)")
    parser.add_argument("--seed", type=number(int, 0, MOST_SEED), default=0, help="of the draws (0)")
    parser.add_argument("--temperature", type=setting("temperature"), default=1.0, help="1: as learned; 0: likeliest")
    parser.add_argument("--top-k", type=setting("top_k"), help="draw among the K likeliest tokens only")
    parser.add_argument("--top-p", type=setting("top_p"), help="among the fewest whose probabilities reach P together")
    parser.add_argument(
        "--min-p", type=setting("min_p"), help="among those at least P times as likely as the likeliest"
    )
    repetition = "divides the scores of tokens that a title has already (1: not)"
    parser.add_argument("--repetition-penalty", type=setting("repetition_penalty"), default=1.0, help=repetition)
    parser.add_argument("--max-tokens", type=number(int, 1), help="at most so many a title (what the block holds)")
    parser.add_argument("--heal", action="store_true", help="the prompt may end within a word")
    parser.add_argument("--batch", type=number(int, 1), default=BATCH, help=f"titles computed together ({BATCH})")
    arguments = parser.parse_args()
    prompt = the_prompt(arguments)
    _, module, known = reopen(arguments)
    result: list[dict[str, Any]] = []
    try:
        if arguments.interactive:
            answer(arguments, module, known, result)
        else:
            result += invent(arguments, module, known, prompt, arguments.seed)
            print(novelty(result))
    finally:
        if result:
            save_json(arguments.json, result)


def the_prompt(arguments: argparse.Namespace) -> str:
    """What titles shall begin with, nothing where they begin as they like; UserError for what has no meaning."""
    if arguments.prompt is None:
        return ""
    if arguments.interactive:
        raise UserError("--prompt: not with --interactive, which asks for it")
    if len(arguments.prompt) > 1:
        raise UserError("--prompt: given more than once; one command takes one, --interactive asks for several")
    prompt = arguments.prompt[0]
    if not prompt.strip():
        raise UserError(f"--prompt={prompt!r}: empty; leave it away for titles that begin as they like")
    if prompt[-1].isspace() and not arguments.heal:
        notice("the prompt ends with a blank, which belongs to the next token: leave it away, or add --heal")
    return prompt


def setting(name: str) -> Callable[[str], Any]:
    """An argument type: a value that a setting of the sampling may have."""

    def parse(text: str) -> Any:
        limits = RANGES[name]
        try:
            value = limits.kind(text)
        except ValueError:
            value = None
        if value is None or not fits(name, value):
            raise argparse.ArgumentTypeError(f"{text!r}: {limits.allowed}")
        return value

    return parse


def answer(
    arguments: argparse.Namespace, module: LanguageModule, known: np.ndarray | None, result: list[dict[str, Any]]
) -> None:
    """Titles for each prompt that is typed, each with the next seed; a prompt that cannot be taken is said."""
    print(INTERACTIVE)
    try:
        for turn, prompt in enumerate(typed_lines("> ")):
            try:
                result += invent(arguments, module, known, prompt.strip(), arguments.seed + turn)
            except UserError as error:
                print(error)
    finally:
        print(f"\n{novelty(result)}")  # after Ctrl-C, too


def invent(
    arguments: argparse.Namespace, module: LanguageModule, known: np.ndarray | None, prompt: str, seed: int
) -> list[dict[str, Any]]:
    """The titles of one prompt, shown as they are written where stdout is a terminal."""
    sampling = Sampling(
        arguments.temperature, arguments.top_k, arguments.top_p, arguments.min_p, arguments.repetition_penalty
    )
    watched = Redrawn() if can_redraw() else None
    together = arguments.batch if watched is None else min(arguments.batch, watched.most())
    settings = {"max_tokens": arguments.max_tokens, "seed": seed, "heal": arguments.heal}
    batches = drafts(module, module.tokenizer, prompt, arguments.num, together, sampling=sampling, **settings)
    try:
        first = next(batches)
    except ValueError as error:
        raise UserError(f"--{error}") from error
    print(f"{'log prob':>9}   title{'' if known is None else ' (*: a training title)'}", flush=True)
    result = []
    for draft in itertools.chain([first], batches):
        for _ in draft:
            if watched is not None:
                watched.show([line(one) for one in draft.titles()])
        if watched is not None:
            watched.clear()
        result += finished(draft.titles(), known)
        if reader_gone() and arguments.json is None:
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


if __name__ == "__main__":
    program(main)
