"""Draw titles from the embedded grammar, a line each: `python scripts/draw_titles.py 10000000 > titles.txt`."""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

import sys
from itertools import islice

from frontpage.command.arguments import Arguments, number
from frontpage.data.grammar.title_rules import title_grammar


def main() -> None:
    """Print as many draws as asked for; a few of them are alike, and few are in memory at a time."""
    parser = Arguments("Draw titles from the embedded grammar, to see how a large corpus is read.")
    parser.add_argument("count", type=number(int, 1), help="how many draws")
    parser.add_argument("--seed", type=number(int, 0), default=1337, help="the same seed draws the same titles")
    arguments = parser.parse_args()
    sys.stdout.writelines(f"{title}\n" for title in islice(title_grammar().draws(arguments.seed), arguments.count))


if __name__ == "__main__":
    program(main)
