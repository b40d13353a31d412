"""A checkpoint in one file or in parts: `python scripts/convert_checkpoint.py RUN/checkpoints/last.ckpt whole.ckpt`."""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

from pathlib import Path

from frontpage.command.arguments import Arguments, number
from frontpage.runs.convert_checkpoint import convert

MOST = 4096  # parts, of so many processes


def main() -> None:
    """Write a checkpoint anew, in the other form."""
    parser = Arguments("Write a checkpoint as a single file, or in parts as several processes write it.")
    parser.add_argument("checkpoint", type=Path, help="of a run, in either form")
    parser.add_argument("target", type=Path, help="the new file; parts are a folder beside it")
    parser.add_argument("--parts", type=number(int, 1, MOST), metavar="N", help="so many files of rows (a single file)")
    arguments = parser.parse_args()
    convert(arguments.checkpoint, arguments.target, arguments.parts)
    print(f"wrote {arguments.target}")


if __name__ == "__main__":
    program(main)
