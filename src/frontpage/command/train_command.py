"""`frontpage-train`: what `python train.py` does, from any folder."""

import runpy
from pathlib import Path

from frontpage.command.config_folder import CONFIGS


def main() -> None:
    """Run `train.py`, which lies beside the configs: in a checkout, and in an installed package (setup.py)."""
    runpy.run_path(str(Path(CONFIGS).parent / "train.py"), run_name="__main__")
