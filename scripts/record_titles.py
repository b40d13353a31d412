"""Make the records' file of titles: `python scripts/record_titles.py <clone of the source> titles.parquet`."""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from frontpage.command.arguments import Arguments, path_for, save_json
from frontpage.command.disk_full import replacing
from frontpage.command.errors import BadValue
from frontpage.data.record_titles import SOURCE, read_items, titles_of


def main() -> None:
    """Read the items, write the titles with their days, and say how many there are."""
    parser = Arguments(
        f"Make the file of titles that the records are of, from a clone of {SOURCE}.", ("titles", "days")
    )
    parser.add_argument("folder", type=Path, help="where the clone lies")
    parser.add_argument("output", type=path_for("output"), help="the Parquet file; it must not be there")
    arguments = parser.parse_args()
    if arguments.output.exists():
        raise BadValue("output", arguments.output, "a file that is not there yet")
    titles = titles_of(read_items(arguments.folder))
    columns = {"title": [title for _, title in titles], "created": [day for day, _ in titles]}
    with replacing(arguments.output) as partial:
        pq.write_table(pa.table(columns), partial, compression="zstd")
    days = len({*columns["created"]})
    print(f"{arguments.output}: {len(titles):,} titles of {days:,} days")
    save_json(arguments.json, {"titles": len(titles), "days": days})


if __name__ == "__main__":
    program(main)
