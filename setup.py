"""Puts `configs/` and `train.py` into a built package, which needs no checkout then; all else: pyproject.toml."""

from pathlib import Path
from shutil import copyfile, copytree, rmtree

from setuptools import setup
from setuptools.command.build_py import build_py


class WithConfigs(build_py):
    """An installation in place (`pip install -e .`) has them where they are."""

    def run(self) -> None:
        """Build the package, then lay them beside its modules."""
        super().run()
        if not self.editable_mode:
            package = Path(self.build_lib, "frontpage")
            rmtree(package / "configs", ignore_errors=True)  # of an earlier build
            copytree("configs", package / "configs")
            copyfile("train.py", package / "train.py")


setup(cmdclass={"build_py": WithConfigs})
