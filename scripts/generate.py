"""Let a run invent titles: `python scripts/generate.py <run> --prompt "Show HN:" --num 5 --seed 0`."""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np

from frontpage.analysis.invention import Wanted, invent, novelty
from frontpage.command.arguments import number, save_json
from frontpage.command.errors import UserError
from frontpage.command.notices import notice
from frontpage.command.terminal import typed_lines
from frontpage.models.generate import BATCH
from frontpage.models.sampling import RANGES, Sampling, fits
from frontpage.recipe.language_module import LanguageModule
from frontpage.runs.run_arguments import RunArguments, reopen

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
    parser.add_argument("--seed", type=number(int, 0, 2**63 - 1), default=0, help="of the draws (0)")
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
    drawn = arguments.temperature, arguments.top_k, arguments.top_p, arguments.min_p, arguments.repetition_penalty
    limits = arguments.max_tokens, arguments.heal, not arguments.json
    wanted = Wanted(arguments.num, arguments.batch, Sampling(*drawn), *limits)
    _, module, known = reopen(arguments)
    result: list[dict[str, Any]] = []
    try:
        if arguments.interactive:
            answer(wanted, arguments.seed, module, known, result)
        else:
            result += invent(wanted, module, known, prompt, arguments.seed)
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
    wanted: Wanted, seed: int, module: LanguageModule, known: np.ndarray | None, result: list[dict[str, Any]]
) -> None:
    """Titles for each prompt that is typed, each with the next seed; a prompt that cannot be taken is said."""
    print(INTERACTIVE)
    try:
        for turn, prompt in enumerate(typed_lines("> ")):
            try:
                result += invent(wanted, module, known, prompt.strip(), seed + turn)
            except UserError as error:
                print(error)
    finally:
        print(f"\n{novelty(result)}")  # after Ctrl-C, too


if __name__ == "__main__":
    program(main)
