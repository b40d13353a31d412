"""Let a run invent titles: `python scripts/generate.py <run dir> --prompt "Show HN:" --num 5 --seed 0`."""

from frontpage.cli import program  # isort: skip  (first: it sends warnings to stdout)

from frontpage.data.training_titles import seen_in_training
from frontpage.errors import UserError
from frontpage.generate import generate
from frontpage.run_command import RunArguments, number, reopen, save_json


def main() -> None:
    """Titles with the natural log of their probability, and a star for each that is a training title."""
    parser = RunArguments("Titles invented by a run; the same seed gives the same titles.")
    parser.add_argument("--prompt", default="", help="what every title begins with")
    parser.add_argument("--num", type=number(int, 1), default=5, help="how many titles (5)")
    parser.add_argument("--seed", type=number(int, 0, 2**63 - 1), default=0, help="of the draws (0)")
    parser.add_argument("--temperature", type=number(float, 0), default=1.0, help="1: as learned; 0: the likeliest")
    parser.add_argument("--top-k", type=number(int, 1), help="draw among the K likeliest tokens only")
    parser.add_argument("--max-tokens", type=number(int, 1), help="at most so many a title (what the block holds)")
    arguments = parser.parse_args()
    _, module, known = reopen(arguments)
    try:
        invented = generate(
            module,
            module.tokenizer,
            prompt=arguments.prompt,
            num=arguments.num,
            temperature=arguments.temperature,
            top_k=arguments.top_k,
            max_tokens=arguments.max_tokens,
            seed=arguments.seed,
        )
    except ValueError as error:
        raise UserError(f"--{error}") from error
    seen = [None] * len(invented) if known is None else seen_in_training([one.title for one in invented], known)
    result = [
        {"title": one.title, "log_prob": one.log_prob, "in_training": None if known is None else bool(mark)}
        for one, mark in zip(invented, seen, strict=True)
    ]
    print(f"{'log prob':>9}   title{'' if known is None else ' (*: a training title)'}")
    for one in result:
        shown = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in one["title"])
        print(f"{one['log_prob']:9.2f} {'*' if one['in_training'] else ' '} {shown}")
    save_json(arguments.json, result)


if __name__ == "__main__":
    program(main)
