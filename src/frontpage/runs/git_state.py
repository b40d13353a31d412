"""The commit of the code that runs."""

import subprocess
from pathlib import Path
from typing import Any

from frontpage.command.config_folder import INSTALLED


def git_state() -> dict[str, Any]:
    """`git_commit` and `git_dirty`; both None outside git, and in an installed package, which no checkout holds."""
    if INSTALLED:
        return {"git_commit": None, "git_dirty": None}

    def ask(*words: str) -> str | None:
        try:
            answer = subprocess.run(
                ["git", *words], capture_output=True, text=True, timeout=10, cwd=Path(__file__).parent
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return answer.stdout.strip() if answer.returncode == 0 else None

    commit = ask("rev-parse", "HEAD")
    return {"git_commit": commit, "git_dirty": bool(ask("status", "--porcelain")) if commit else None}
