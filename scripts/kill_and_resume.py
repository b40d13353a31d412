"""Kill a run at random moments, continue it each time, and compare it with one that nothing interrupted.

python scripts/kill_and_resume.py                          20 kills of a run of half a minute: 5 minutes of a core
python scripts/kill_and_resume.py --kills 3 --seed 7       fewer, at other moments
python scripts/kill_and_resume.py callbacks=ema            further overrides, for both runs

The run trains a tiny net on embedded titles with dropout, accumulation and several epochs. SIGKILL comes at a random
moment after a checkpoint; `ckpt_path=last` continues. At the end the weights and the optimizer's state must agree bit
for bit, and so must metrics.csv, the events and the invented titles: each step once. Columns that measure time or
memory are left out. Exits with 1 and says what differs. Needs no network and leaves nothing behind.
"""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

import random
import sys
import tempfile
from pathlib import Path

from frontpage.analysis.disasters.kills import RUN, compare, finish, killed, start
from frontpage.command.arguments import Arguments, number, save_json
from frontpage.runs.run import Run


def main() -> None:
    """Run once without and once with kills, compare, and leave with status 1 where they differ."""
    parser = Arguments(
        "Kill a run at random moments, continue it, and compare it with an uninterrupted one.", ("kills", "differences")
    )
    parser.add_argument("--kills", type=number(int, 1), default=20, help="how often (default 20)")
    parser.add_argument("--seed", type=number(int, 0), default=0, help="of the moments (default 0)")
    parser.add_argument("--epochs", type=number(int, 1), default=60, help="length of the run (default 60)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="further settings of both runs")
    arguments = parser.parse_intermixed_args()
    with tempfile.TemporaryDirectory(prefix="frontpage_kill_") as folder:
        settings = [*RUN, f"trainer.max_epochs={arguments.epochs}", f"paths.cache_dir={folder}/cache"]
        settings += arguments.overrides
        whole, broken = Path(folder, "whole"), Path(folder, "broken")
        finish(start(whole, settings), whole)
        record = Run(whole).record
        print(f"uninterrupted: {record['steps']} updates in {record['seconds']:.1f} s", flush=True)
        # Each session trains until its first checkpoint anyway; the rest is shared out among the kills.
        window = 1.4 * record["seconds"] / (arguments.kills + 1)
        kills = killed(broken, settings, arguments.kills, random.Random(arguments.seed), window)
        differences = compare(whole, broken)
    result = {
        "kills": [kill._asdict() for kill in kills],
        "updates": record["steps"],
        "seed": arguments.seed,
        "differences": differences,
    }
    save_json(arguments.json, result)
    for difference in differences:
        print(f"DIFFERS: {difference}")
    outcome = f"{len(differences)} differences" if differences else "the same bits, each step once"
    print(f"{len(kills)} kills in a run of {record['steps']} updates: {outcome}")
    sys.exit(1 if differences else 0)


if __name__ == "__main__":
    program(main)
