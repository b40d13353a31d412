"""Puts configs and programs into a built package, which needs no checkout then; all else: pyproject.toml."""

from pathlib import Path
from shutil import copyfile, copytree, ignore_patterns, rmtree

from setuptools import setup
from setuptools.command.build_py import build_py


class WithPrograms(build_py):
    """An installation in place (`pip install -e .`) has them where they are."""

    def run(self) -> None:
        """Build the package, then lay them beside its modules."""
        super().run()
        if not self.editable_mode:
            package = Path(self.build_lib, "frontpage")
            for folder in ("configs", "scripts"):
                rmtree(package / folder, ignore_errors=True)  # of an earlier build
                copytree(folder, package / folder, ignore=ignore_patterns("__pycache__", "*.sh"))
            copyfile("train.py", package / "train.py")


setup(cmdclass={"build_py": WithPrograms})
