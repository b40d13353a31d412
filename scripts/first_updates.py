"""The loss after each of the first updates of deep nets: `python scripts/first_updates.py`; `--help` lists options."""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

from frontpage.analysis.benchmarks.first_updates import SHOWN, Sizes, compare, table
from frontpage.analysis.table_text import aligned
from frontpage.command.arguments import Arguments, number, save_json
from frontpage.command.errors import UserError

NETS = ("77x384x6:layernorm", "77x384x6:deepnorm", "48x896x14:deepnorm")


def main() -> None:
    """Train each net twice, from its own initial weights and from PyTorch's, and print both."""
    parser = Arguments("Losses of deep nets in their first updates, by their initial weights.", ("net", "start"))
    nets_help = f"LAYERSxWIDTHxHEADS:NORM (default {' '.join(NETS)}; the last needs 12 GB)"
    parser.add_argument("--nets", nargs="+", default=NETS, metavar="NET", help=nets_help)
    parser.add_argument("--updates", type=number(int, 1, SHOWN[-1]), default=SHOWN[-1], help="at most 50, the default")
    parser.add_argument("--seed", type=number(int, 0), default=0, help="of titles, batches and weights (default 0)")
    arguments = parser.parse_args()
    try:
        nets = [Sizes.read(text) for text in arguments.nets]
        result = compare(nets, arguments.updates, arguments.seed)
    except ValueError as error:
        raise UserError(f"--nets: {error}") from error
    print("nats a token of 128 tokens that are not trained on, after so many updates of AdamW on 128 tokens each")
    print(aligned([*table(result)]))
    save_json(arguments.json, result)


if __name__ == "__main__":
    program(main)
