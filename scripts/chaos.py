"""Attack a run, a sweep and a cache build with kills and full disks, continue each, and count what was lost.

python scripts/chaos.py                          30 attacks: some minutes of a core
python scripts/chaos.py --attacks 200 --seed 7   the long one, at other moments
python scripts/chaos.py --only run               run, sweep or cache alone
python scripts/chaos.py --disk /mnt/small        on a file system of your own, best a small one

An attack is a command that is killed (SIGKILL) before a random one of its calls that change the disk, or for which
some of these calls in a row find no room. Then the same command goes on, undisturbed, and its result is compared with
that of one that nothing disturbed: the weights to the bit, run.json, the steps of metrics.csv and events.jsonl, the
trials of the study, the files of the cache. For root on Linux all of it lies on a tmpfs that a filler makes full now
and then; else that part is left out, and said. Exits with 1 where something was lost. Needs no network.
"""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

import random
import signal
import sys

from frontpage.analysis.disasters.small_disk import small_disk
from frontpage.analysis.disasters.strikes import TARGETS, Attack, attack, undisturbed
from frontpage.command.arguments import Arguments, number, path_for, save_json


def main() -> None:
    """Attack, compare, report; status 1 where something was lost."""
    parser = Arguments("Attack a run, a sweep and a cache build, and count what was lost.", ("seed", "attacks"))
    parser.add_argument("--attacks", type=number(int, 1), default=30, help="how many (default 30)")
    parser.add_argument("--seed", type=number(int, 0), default=0, help="of kinds and moments (default 0)")
    parser.add_argument("--only", choices=sorted(TARGETS), help="one target (default: in turn)")
    parser.add_argument(
        "--disk", type=path_for("--disk"), help="a folder to work in (default: a small tmpfs for root, or /tmp)"
    )
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *unused: sys.exit(143))  # so that the small disk is unmounted
    chosen, names = random.Random(arguments.seed), [arguments.only] if arguments.only else sorted(TARGETS)
    done: list[Attack] = []
    with small_disk(arguments.disk) as (disk, is_small):
        whole = {}
        for name in names:
            whole[name] = undisturbed(name, disk / f"whole_{name}")
            print(f"{name}: {whole[name][1]} calls that change the disk", flush=True)
        kinds = ["kill", "kill", "full"] + (["filler"] if is_small else [])
        for index in range(arguments.attacks):
            name, kind = names[index % len(names)], chosen.choice(kinds)
            done.append(attack(name, kind, chosen.randint(1, whole[name][1]), disk / f"{name}_{index}", whole[name][0]))
            print(told(index + 1, done[-1]), flush=True)
    lost = [one for one in done if one.lost]
    save_json(arguments.json, {"seed": arguments.seed, "attacks": [one._asdict() for one in done]})
    print(f"{len(done)} attacks, {sum(one.struck for one in done)} struck, {len(done) - len(lost)} survived")
    for one in lost:
        print(f"LOST: {one.target}, {one.kind} at call {one.moment}: {'; '.join(one.lost)}")
    sys.exit(1 if lost else 0)


def told(index: int, one: Attack) -> str:
    """One attack as a line."""
    outcome = "LOST " + "; ".join(one.lost) if one.lost else "survived" if one.struck else "not struck"
    return f"{index:4d} {one.target:5s} {one.kind:6s} at call {one.moment:4d}, status {one.status:4d}: {outcome}"


if __name__ == "__main__":
    program(main)
