"""How long each attention takes beside dense causal attention: `python scripts/benchmark_attention.py`.

Times what lies between the projections, forward and backward, of every variant and backend that runs here, each in turn
with dense attention, since machines are noisy: ratios of medians count. Beside it stand the bytes that the forward pass
keeps for the backward pass and the most that both hold, inputs not counted. On CUDA: --lengths 256,1024,4096, in bf16.
Long rows: --batch 1 --lengths 512,1024,2048,4096,8192,16384 --auto-only --rounds 1 --picture rows.png.
"""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

from typing import Any

from frontpage.analysis.benchmarks.attention import Settings, device_to_time, measure_all, slopes, variants
from frontpage.analysis.benchmarks.attention_picture import plotted
from frontpage.analysis.rate_plot import pyplot
from frontpage.command.arguments import Arguments, number, save_json, several
from frontpage.command.output_file import check_kind, holding, picture
from frontpage.machine.peak_memory import in_words

MADE_BY = "frontpage benchmark_attention.py"
SLOPES_FROM = 2048  # tokens, from which growth with the length is told


def main() -> None:
    """Time all of them and print a table for each length."""
    parser = Arguments("Time every attention beside dense causal attention.", ("lengths", "processor", "rounds"))
    parser.add_argument("--only", nargs="+", choices=[*variants()], metavar="VARIANT", help="beside causal; all")
    parser.add_argument("--batch", type=number(int, 1), default=32)
    parser.add_argument("--heads", type=number(int, 1), default=8)
    parser.add_argument("--head-width", type=number(int, 1), default=16)
    parser.add_argument("--lengths", type=several(number(int, 2)), default=[256], metavar="T,...", help="tokens: 256")
    parser.add_argument("--rounds", type=number(int, 1), default=5, help="of which the median is taken")
    parser.add_argument("--auto-only", action="store_true", help="of each variant the backend that auto takes")
    parser.add_argument("--documents", action="store_true", help="rows of titles of 12 tokens, kept apart")
    parser.add_argument("--device", default="auto", help="auto (the default: CUDA or the CPU), cpu or cuda")
    beside = "draw time and memory over the lengths there"
    parser.add_output("--picture", holding(MADE_BY), metavar="FILE.png", help=beside)
    arguments = parser.parse_args()
    if arguments.picture is not None:
        check_kind(arguments.picture)
        plt = pyplot(arguments.picture.path)
    device = device_to_time(arguments.device)
    sizes = arguments.batch, arguments.heads, arguments.head_width
    settings = Settings(*sizes, arguments.rounds, arguments.documents, device, arguments.only, arguments.auto_only)
    result = measure_all(settings, arguments.lengths)
    report(result)
    save_json(arguments.json, result)
    if arguments.picture is not None:
        figure = plotted(plt, result, SLOPES_FROM)
        arguments.picture.write(picture(figure, arguments.picture.path, MADE_BY))


def report(result: dict[str, Any]) -> None:
    """Print a table for each length."""
    print(
        f"{result['processor']}, {result['threads']} threads, torch {result['torch']}, {result['dtype']}: batch"
        f" {result['batch']}, {result['heads']} heads of {result['head_width']}, medians of {result['rounds']}"
        f"{', titles of 12 tokens' if result['documents'] else ''}"
    )
    for length, table in result["lengths"].items():
        width = max(map(len, table))
        print(f"\n{length} tokens, to dense attention:")
        print(f"{'variant':<{width}}  {'auto':<9}  time  saved             peak              every backend's time")
        for name, row in table.items():
            memory = "  ".join(
                f"{row[f'{kind}_to_dense']:>4.2f} {'(' + in_words(row[f'{kind}_bytes'][row['auto']]) + ')':<11}"
                for kind in ("saved", "peak")
            )
            all_ = "  ".join(
                f"{backend} {row['ratios'][backend]:.2f} ({value:.1f} ms)"
                for backend, value in row["milliseconds"].items()
            )
            print(f"{name:<{width}}  {row['auto']:<9}  {row['ratio_to_dense']:>4.2f}  {memory}  {all_}")
    for name, grows in slopes(result["lengths"], SLOPES_FROM).items():
        print(f"{name}: time grows as T^{grows['milliseconds']:.2f}, peak as T^{grows['peak_bytes']:.2f}")


if __name__ == "__main__":
    program(main)
