"""What each preset needs on 1 to 512 GPUs, on paper: `python scripts/scale.py`; `--write` writes docs/scale.md."""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

from dataclasses import asdict

from frontpage.analysis.paper_plan.page import table_of, with_tables
from frontpage.analysis.paper_plan.plan import PRESETS, Cluster, plan_preset
from frontpage.command.arguments import Arguments, number, save_json, several
from frontpage.command.config_folder import ROOT
from frontpage.command.errors import BadValue
from frontpage.command.written_page import settle_page

PAGE = ROOT / "docs" / "scale.md"
DEVICES = [1, 8, 64, 512]


def main() -> None:
    """Print the tables, or write or check the page, which is made of the defaults."""
    parser = Arguments(
        "Plan runs on paper: strategy, batch, memory and rate by preset and number of GPUs.", ("presets",)
    )
    parser.add_argument("presets", nargs="*", metavar="preset", help=f"some of: {', '.join(PRESETS)}; none: all")
    parser.add_argument(
        "--devices", type=several(number(int, 1)), default=DEVICES, metavar="N,...", help="numbers of GPUs"
    )
    parser.add_argument("--card", type=number(float, 0.1), default=Cluster.card, help="GiB of a GPU")
    parser.add_argument(
        "--peak", type=number(float, 1), default=Cluster.peak, help="operations a second of its products"
    )
    parser.add_argument("--utilization", type=number(float, 0.001), default=Cluster.utilization, help="share reached")
    page = parser.add_mutually_exclusive_group()
    page.add_argument("--write", action="store_true", help="write docs/scale.md, of all presets and the defaults")
    page.add_argument("--check", action="store_true", help="status 1 where docs/scale.md is not what --write writes")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.presets if name not in PRESETS]
    if unknown:
        raise BadValue("preset", unknown[0], ", ".join(PRESETS))
    cluster = Cluster(arguments.card, arguments.peak, arguments.utilization)
    of_page = arguments.write or arguments.check
    names, devices = (PRESETS, DEVICES) if of_page else (arguments.presets or PRESETS, arguments.devices)
    plans = [plan_preset(name, devices, Cluster() if of_page else cluster) for name in names]
    save_json(arguments.json, {"presets": [asdict(plan) for plan in plans]})
    if not of_page:
        print("\n\n".join(map(table_of, plans)))
        return
    text = with_tables(PAGE.read_text(encoding="utf-8"), plans)
    settle_page(PAGE, text, "the estimates say", "python scripts/scale.py --write", arguments.check)


if __name__ == "__main__":
    program(main)
