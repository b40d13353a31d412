"""Which of two texts a run finds likelier: `python scripts/contrast.py <run> pairs.tsv`, lines `right<tab>wrong`."""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

from frontpage.analysis.contrast import contrast, read_pairs
from frontpage.command.arguments import save_json
from frontpage.command.terminal import printable
from frontpage.runs.run_arguments import RunArguments, reopen


def main() -> None:
    """The share of pairs whose right text is the likelier one, and the pairs where it is not."""
    parser = RunArguments(
        "Score pairs of texts that differ in one thing; half of them are right by guessing.", ("run", "accuracy")
    )
    parser.add_argument("pairs", help="a file with two texts a line, a tab between them, the right one first")
    arguments = parser.parse_args()
    pairs = read_pairs(arguments.pairs)
    config, module, _ = reopen(arguments)
    found = contrast(module, pairs, config)
    summary = found.summary()
    for (right, wrong), one, other in zip(found.pairs, found.right.tolist(), found.wrong.tolist(), strict=True):
        if one >= other:
            print(f"  {one:9.3f} {printable(right)}\n  {other:9.3f} {printable(wrong)}   (likelier, and wrong)")
    print(f"right: {summary['accuracy']:.4f} ± {summary['accuracy_se']:.4f} of {len(pairs)} pairs, by chance 0.5")
    print(f"nats of the wrong text less the right one: {summary['difference']:.3f} ± {summary['difference_se']:.3f}")
    result = {"run": arguments.run, "checkpoint": arguments.checkpoint, **summary}
    pairs_said = [
        {"right": right, "wrong": wrong, "nats_right": one, "nats_wrong": other}
        for (right, wrong), one, other in zip(pairs, found.right.tolist(), found.wrong.tolist(), strict=True)
    ]
    save_json(arguments.json, result | {"pairs": pairs_said})


if __name__ == "__main__":
    program(main)
