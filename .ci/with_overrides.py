"""Become `python <arguments> $OVERRIDES`: the form's text is split as a shell would, and no shell ever sees it.

    OVERRIDES="experiment=quickstart name='two words'" python .ci/with_overrides.py train.py ckpt_path=last -- seed=3

What stands after `--` comes last, so that the form cannot change it. This process is replaced, not a parent: a
cancelled job signals it alone, and a run that is interrupted still writes its checkpoint.
"""

import os
import shlex
import sys


def main() -> None:
    """Split, and become the command; text that cannot be split ends with status 2."""
    text, arguments = os.environ.get("OVERRIDES", ""), sys.argv[1:]
    before, after = arguments, []
    if "--" in arguments:
        place = arguments.index("--")
        before, after = arguments[:place], arguments[place + 1 :]
    try:
        words = shlex.split(text)
    except ValueError as error:
        sys.stderr.write(f"overrides={text}: {error}; quote as in a shell, e.g. 'data.path=\"my titles.csv\"'\n")
        sys.exit(2)
    command = [sys.executable, *before, *words, *after]
    print("$", shlex.join(["python", *command[1:]]), flush=True)
    os.execv(sys.executable, command)


if __name__ == "__main__":
    main()
