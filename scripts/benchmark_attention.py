"""How long each attention takes beside dense causal attention: `python scripts/benchmark_attention.py`.

Times what lies between the projections, forward and backward, of every variant and backend that runs here, each in turn
with dense attention, since machines are noisy: ratios of medians count. On CUDA: --lengths 256,1024,4096, in bf16.
"""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

from typing import Any

from frontpage.analysis.benchmarks.attention import Settings, measure_all, variants
from frontpage.command.arguments import Arguments, number, save_json, several


def main() -> None:
    """Time all of them and print a table for each length."""
    parser = Arguments("Time every attention beside dense causal attention.", ("lengths", "processor", "rounds"))
    parser.add_argument("--only", nargs="+", choices=[*variants()], metavar="VARIANT", help="beside causal; all")
    parser.add_argument("--batch", type=number(int, 1), default=32)
    parser.add_argument("--heads", type=number(int, 1), default=8)
    parser.add_argument("--head-width", type=number(int, 1), default=16)
    parser.add_argument("--lengths", type=several(number(int, 2)), default=[256], metavar="T,...", help="tokens: 256")
    parser.add_argument("--rounds", type=number(int, 1), default=5, help="of which the median is taken")
    parser.add_argument("--documents", action="store_true", help="rows of titles of 12 tokens, kept apart")
    parser.add_argument("--device", help="cuda where there is one, else cpu")
    arguments = parser.parse_args()
    sizes = arguments.batch, arguments.heads, arguments.head_width
    settings = Settings(*sizes, arguments.rounds, arguments.documents, arguments.device, arguments.only)
    result = measure_all(settings, arguments.lengths)
    report(result)
    save_json(arguments.json, result)


def report(result: dict[str, Any]) -> None:
    """Print a table for each length."""
    print(
        f"{result['processor']}, {result['threads']} threads, torch {result['torch']}, {result['dtype']}: batch"
        f" {result['batch']}, {result['heads']} heads of {result['head_width']}, medians of {result['rounds']}"
        f"{', titles of 12 tokens' if result['documents'] else ''}"
    )
    for length, table in result["lengths"].items():
        width = max(map(len, table))
        print(f"\n{length} tokens\n{'variant':<{width}}  {'auto':<9} {'to dense':>8}  every backend")
        for name, row in table.items():
            all_ = "  ".join(
                f"{backend} {row['ratios'][backend]:.2f} ({value:.1f} ms)"
                for backend, value in row["milliseconds"].items()
            )
            print(f"{name:<{width}}  {row['auto']:<9} {row['ratio_to_dense']:>8.2f}  {all_}")


if __name__ == "__main__":
    program(main)
