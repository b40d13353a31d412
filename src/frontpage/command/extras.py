"""How an extra of pyproject.toml is installed, for the messages that ask for one."""

from frontpage.command.config_folder import INSTALLED


def installing(extra: str) -> str:
    """The command, which without a checkout is one for the folder that the package was installed from."""
    if INSTALLED:
        return f"pip install '.[{extra}]' in the checkout that frontpage was installed from"
    return f"pip install -c constraints.txt -e '.[{extra}]'"
