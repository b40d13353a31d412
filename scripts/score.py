"""What a run thinks of a title, token by token: `python scripts/score.py <run> "Show HN: a parser for poets"`."""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

import math

from frontpage.analysis.token_colours import as_json, legend, painted
from frontpage.command.arguments import number, save_json
from frontpage.command.errors import UserError
from frontpage.command.terminal import printable, typed_lines, wants_colour
from frontpage.data.tokenizer import TitleTokenizer
from frontpage.evaluation.scored_tokens import TitleTokens, score_tokens
from frontpage.runs.run_arguments import RunArguments, reopen
from frontpage.runs.training_titles import seen_in_training

EXPLAINED = {
    "nats": "minus the natural log of the token's probability",
    "rank": "1 where no token was likelier",
    "␣": "a blank; one stands before every title",
    "\\xe6": "a byte that is a part of a character",
}


def main() -> None:
    """Each title in the colours of its tokens' nats, and a line for each token."""
    parser = RunArguments(
        "The nats, the probability and the rank of each token of titles, scored as by evaluate.py.",
        ("run", "nats", "titles"),
    )
    parser.add_argument("titles", nargs="+", metavar="title", help="titles, or - for those on stdin, one a line")
    parser.add_argument("--top", type=number(int, 0), default=0, metavar="N", help="and the N likeliest tokens (0)")
    parser.add_argument("--no-color", action="store_true", help="no colours; they are for terminals without NO_COLOR")
    arguments = parser.parse_intermixed_args()
    given = [title for one in arguments.titles for title in (typed_lines() if one == "-" else [one])]
    titles = [title.strip() for title in given if title.strip()]
    if not titles:
        raise UserError("title: empty; give at least one title with a letter in it, or - for lines on stdin")
    for title in titles:
        if any("\ud800" <= letter <= "\udfff" for letter in title):
            raise UserError(f"title={title!r}: not valid UTF-8")
    config, module, known = reopen(arguments)
    seen = [None] * len(titles) if known is None else seen_in_training(titles, known).tolist()
    scored = score_tokens(module, titles, config.data, arguments.top, watch="scoring")

    colour = wants_colour() and not arguments.no_color
    print("\n".join(f"{word:<5} {meaning}" for word, meaning in EXPLAINED.items()))
    if colour:
        print(legend())
    for one, mark in zip(scored, seen, strict=True):
        report(module.tokenizer, one, mark, colour)
    nats, characters = sum(one.nats for one in scored), sum(one.characters for one in scored)
    if len(scored) > 1:
        print(f"\n{len(scored)} titles: {nats:.4f} nats, {nats / characters:.4f} nats a character")
    result = {
        "run": arguments.run,
        "checkpoint": arguments.checkpoint,
        "nats": nats,
        "nats_per_char": nats / characters,
        "titles": [as_json(module.tokenizer, one, mark) for one, mark in zip(scored, seen, strict=True)],
    }
    save_json(arguments.json, result)


def report(tokenizer: TitleTokenizer, scored: TitleTokens, seen: bool | None, colour: bool) -> None:
    """Print one title."""
    if colour:
        shown = "".join(painted(tokenizer.readable(one.token), one.nats) for one in scored.tokens)
    else:
        shown = printable(scored.title)
    print(f"\n{shown}{' (a training title)' if seen else ''}")
    print(f"  {'nats':>8} {'probability':>12} {'rank':>6}  token")
    for one in scored.tokens:
        others = "   ".join(f"{tokenizer.readable(token)} {math.exp(-nats):.3g}" for token, nats in one.alternatives)
        token = tokenizer.readable(one.token)
        padded = token + " " * (18 - len(token)) if others else token
        shown = painted(token, one.nats) + padded[len(token) :] if colour else padded
        print(
            f"  {one.nats:8.4f} {math.exp(-one.nats):12.3g} {one.rank:6d}  {shown}{others and ' likeliest: '}{others}"
        )
    per_character, characters = scored.nats / scored.characters, f"{scored.characters} of them, the end counted as 5"
    print(f"  {scored.nats:8.4f} nats, {per_character:.4f} nats a character ({characters})")


if __name__ == "__main__":
    program(main)
