"""How an extra of pyproject.toml is installed, for the messages that ask for one."""

import sys
from pathlib import Path

from frontpage.command.config_folder import INSTALLED


def installing(extra: str) -> str:
    """The command, which without a checkout is one for the folder that the package was installed from."""
    if INSTALLED:
        return f"pip install '.[{extra}]' in the checkout that frontpage was installed from"
    environment = Path(sys.prefix, "pyvenv.cfg")
    of_uv = environment.is_file() and "\nuv = " in environment.read_text(encoding="utf-8")
    return f"{'uv pip' if of_uv else '.venv/bin/pip'} install -c constraints.txt -e '.[{extra}]'"
