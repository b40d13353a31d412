"""Two steps of every experiment and two trials of every search on a small embedded corpus, and every debug option once.

    python scripts/smoke.py                        all of them (`make smoke`), each in its own process
    python scripts/smoke.py quickstart adamw_gpt   these experiments only

Needs no network and leaves nothing behind. Exits with 1 and names what failed.
"""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

import os
import sys
import tempfile
from pathlib import Path

from frontpage.analysis.smoke import EXPERIMENTS, Result, smoke_all
from frontpage.command.arguments import Arguments, number
from frontpage.command.errors import UserError


def main() -> None:
    """Run, print the table, leave with the exit status."""
    parser = Arguments(__doc__.splitlines()[0])
    parser.add_argument("experiments", nargs="*", help=f"of: {' '.join(EXPERIMENTS)}")
    parser.add_argument(
        "--jobs", type=number(int, 1), default=min(os.cpu_count() or 1, 4), help="runs at a time (the cores)"
    )
    arguments = parser.parse_args()
    unknown = sorted({*arguments.experiments} - {*EXPERIMENTS})
    if unknown:
        raise UserError(f"no such experiment: {' '.join(unknown)}; there are: {' '.join(EXPERIMENTS)}")
    with tempfile.TemporaryDirectory(prefix="frontpage_smoke_") as folder:
        results = []
        for result in smoke_all(Path(folder), arguments.experiments, arguments.jobs):
            results.append(result)
            print(f"{result.name}: {result.problem or 'ok'} ({result.seconds:.0f} s)", flush=True)
    sys.exit(report(results))


def report(results: list[Result]) -> int:
    """Print the end of what each failed run said, the table, and the names of the failures; the exit status."""
    failed = [result for result in results if result.problem]
    for result in failed:
        print(f"\n== the last lines of {result.name}")
        print("\n".join(result.output.splitlines()[-15:]))
    width = max(len(result.name) for result in results)
    print(f"\n{'run':<{width}} {'seconds':>8} {'val/loss':>9}")
    for result in results:
        loss = "-" if result.loss is None else f"{result.loss:.4f}"
        print(f"{result.name:<{width}} {result.seconds:8.1f} {loss:>9}  {result.problem or ''}".rstrip())
    if failed:
        print(f"\nFAILED: {', '.join(result.name for result in failed)}")
        return 1
    print(f"\nall {len(results)} runs finished")
    return 0


if __name__ == "__main__":
    program(main)
