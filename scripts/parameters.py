"""Write the tables of docs/parameters.md from the config files: `python scripts/parameters.py`, or `--check` them."""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

from pathlib import Path

from frontpage.analysis.parameters.config_file import config_files
from frontpage.analysis.parameters.page import with_tables
from frontpage.command.arguments import Arguments
from frontpage.command.config_folder import CONFIGS, ROOT
from frontpage.command.errors import UserError
from frontpage.command.written_page import settle_page

PAGE = ROOT / "docs" / "parameters.md"
OTHERS_KEYS = ("experiment", "hparams_search", "debug")  # groups that set keys of the others


def main() -> None:
    """Write the page, or say whether it is what would be written; status 1 where it is not."""
    parser = Arguments("Write the tables of docs/parameters.md from the config files and the signatures.")
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 where the page is stale")
    check = parser.parse_args().check
    written = PAGE.read_text(encoding="utf-8")
    try:
        page = with_tables(written, config_files(Path(CONFIGS), OTHERS_KEYS))
    except ValueError as error:
        raise UserError(str(error)) from error
    settle_page(PAGE, page, "the config files say", "python scripts/parameters.py", check)


if __name__ == "__main__":
    program(main)
