"""What each variant of a search is worth: `python scripts/ablation.py STUDY`, after `hparams_search=ablation`."""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

from frontpage.analysis.ablation import MADE_BY, ablation, cells_of, markdown
from frontpage.analysis.pages.sweeps.study_file import open_study
from frontpage.analysis.pages.sweeps.sweep import read_sweep
from frontpage.analysis.scaling.fit import need_scipy
from frontpage.analysis.table_text import aligned
from frontpage.command.arguments import Arguments, save_json
from frontpage.command.notices import notices
from frontpage.command.output_file import holding
from frontpage.command.terminal import printable
from frontpage.runs.run_arguments import add_trust


def main() -> None:
    """Score the trials on their validation titles, pair each with the base of its seed, print the table."""
    parser = Arguments("Differences of a study's variants to its base, paired by seed and title.", ("study", "effects"))
    parser.add_argument("study", help="a study's name, its journal file, or a database URL (#NAME picks one)")
    parser.add_argument("--base", default="base", help="the variant that the others are compared with (base)")
    parser.add_output("--markdown", holding(MADE_BY), help="the table for a document")
    add_trust(parser)
    arguments = parser.parse_args()
    need_scipy()
    sweep = read_sweep(open_study(arguments.study))
    effects = ablation(sweep, arguments.base, arguments.trust)
    print(aligned([[printable(cell) for cell in line] for line in cells_of(effects)]))
    if arguments.markdown is not None:
        arguments.markdown.write(markdown(effects, sweep))
    found = [one.as_dict() for one in effects]
    save_json(arguments.json, {"study": sweep.name, "effects": found, "notices": notices()})


if __name__ == "__main__":
    program(main)
