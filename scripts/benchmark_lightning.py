"""Time training with Lightning and all callbacks beside a bare loop: `python scripts/benchmark_lightning.py`."""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

from frontpage.analysis.benchmarks.lightning import SKIPPED, measure
from frontpage.command.arguments import Arguments, number, save_json


def main() -> None:
    """Train the same steps in turn with and without Lightning."""
    parser = Arguments(
        "Time the training loop with Lightning and all callbacks beside a bare loop.", ("overhead", "turns")
    )
    parser.add_argument("overrides", nargs="*", help="as for train.py, e.g. experiment=quickstart")
    parser.add_argument("--updates", type=number(int, 2 * SKIPPED), default=24, help="of each turn (default 24)")
    parser.add_argument("--turns", type=number(int, 1), default=7, help="default 7")
    arguments = parser.parse_args()
    result = measure(arguments.overrides or ["experiment=quickstart"], arguments.updates, arguments.turns)
    print(
        f"{result['processor']}: {1e3 * result['bare_seconds']:.1f} ms a step bare,"
        f" {1e3 * result['lightning_seconds']:.1f} ms with Lightning and all callbacks,"
        f" {1e3 * result['added_seconds']:.2f} ms more: {result['overhead']:+.1%}"
        f" (means of {arguments.updates - SKIPPED} steps, median of {arguments.turns} turns; all:"
        f" {', '.join(f'{whole / alone - 1:+.1%}' for alone, whole in result['turns'])})"
    )
    save_json(arguments.json, result)


if __name__ == "__main__":
    program(main)
