"""What the tests of this part share."""

from pathlib import Path


def check_message(stderr: str, pieces: tuple[str, ...]) -> None:
    """One to three lines and nothing else, with every piece in them."""
    assert 1 <= len(stderr.splitlines()) <= 3, stderr
    for noise in ("Traceback", "Warning", "Error executing", "usage:", "HYDRA_FULL_ERROR", "struct"):
        assert noise not in stderr
    for piece in pieces:
        assert piece in stderr, f"{piece!r} is not in: {stderr}"


def contents(directory: Path) -> dict[Path, bytes]:
    """The bytes of every file below a directory."""
    return {path.relative_to(directory): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def folders(directory: Path) -> set[Path]:
    """Every folder below a directory but caches, which any run may use."""
    return {path for path in directory.rglob("*") if path.is_dir() and "cache" not in path.parts}
