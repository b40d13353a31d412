"""The command lines of the multi-task guide, as train.py takes them: printed, then run. docs/migration.md has them all.

    python scripts/train_native_multi_task.py --mode microscope --batch-size 8 --bible-dir FOLDER
    python scripts/train_native_multi_task.py --lr 3e-4 --steps 10000 --print           # print the command only

Words of train.py, key=value, may follow. Exits as train.py does.
"""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

import os
import shlex
import sys

from frontpage.command.arguments import Arguments
from frontpage.command.config_folder import ROOT
from frontpage.command.errors import UserError
from frontpage.command.guide_flags import FLAGS, FOLDER, translated
from frontpage.command.masking import hide

ENVIRONMENT = dict(os.environ)  # before this program changes it
TRAIN = str(ROOT / "train.py")


def main() -> None:
    """Print the command, and become it."""
    parser = Arguments(__doc__.splitlines()[0])
    for flag in FLAGS:
        settings = {"type": flag.takes, "metavar": "VALUE"} if flag.takes else {"action": "store_true"}
        parser.add_argument(flag.name, help=flag.help(), **settings)
    parser.add_argument("--print", "--dry-run", action="store_true", dest="print_only", help="print the command only")
    parser.add_argument("words", nargs="*", metavar="key=value", help="as for train.py; they come last")
    arguments = vars(parser.parse_intermixed_args())
    named = {flag.name: arguments[flag.name.lstrip("-").replace("-", "_")] for flag in FLAGS}
    given = {name: value for name, value in named.items() if value is not None and value is not False}
    words, said, assumed = translated(given, arguments["words"])
    if assumed and not arguments["print_only"] and not assumed.exists():
        allowed = "--bible-dir FOLDER names another (docs/parallel.md), data=parallel_synthetic generates a text"
        raise UserError(f"--bible-dir: {FOLDER}, where the guide expects the corpus, is not there; {allowed}")
    for line in said:
        print(f"# {line}")
    print(hide(shlex.join(["python", os.path.relpath(TRAIN), *words])), flush=True)
    if not arguments["print_only"]:
        os.execve(sys.executable, [sys.executable, TRAIN, *words], ENVIRONMENT)


if __name__ == "__main__":
    program(main)
