"""Published numbers of the original exercise, quoted as literature: what was claimed, where, and by which metric.

All are the original's validation loss, `val/mainrun_loss` here: nats a character times the share of the validation
tokens that its `block_size` and batch size score (docs/metrics.md). Sources: the reports of the repositories
LukeAndWinters/mainrun (TRAINING_OPTIMIZATION_REPORT.md: the table) and tedasdf/mainrun (the first report's claims).
"""

from typing import NamedTuple

from frontpage.data.scoring_rows import original_tokens_scored

VALIDATION_TOKENS = 121_400  # of the exercise's data until June 2026, by our estimate (within 0.4 %)
UPDATES = 938  # of the table's runs: 7 epochs
# Updates, baseline (SGD 6e-3), optimized (AdamW 3e-4 with warm-up and cosine); 128 tokens x 64 rows.
TABLE = (
    (1, 2.098, 2.098),
    (44, 1.950, 1.735),
    (88, 1.887, 1.596),
    (132, 1.842, 1.539),
    (176, 1.815, 1.488),
    (220, 1.799, 1.452),
    (264, 1.788, 1.428),
    (308, 1.780, 1.410),
    (352, 1.774, 1.396),
    (396, 1.770, 1.382),
    (440, 1.765, 1.371),
    (484, 1.763, 1.361),
    (528, 1.760, 1.353),
    (572, 1.758, 1.347),
    (616, 1.757, 1.341),
    (660, 1.755, 1.338),
    (704, 1.754, 1.333),
    (748, 1.754, 1.331),
    (792, 1.753, 1.329),
    (836, 1.753, 1.329),
    (880, 1.753, 1.328),
    (924, 1.753, 1.328),
    (938, 1.753, 1.328),
)


class Claim(NamedTuple):
    """What a report claims, and the span that its evaluation cut the validation tokens into."""

    what: str
    block_size: int
    batch_size: int
    loss: float  # as published

    def coverage(self, tokens: int = VALIDATION_TOKENS) -> float:
        """The share of `tokens` validation tokens that was scored."""
        return original_tokens_scored(tokens, self.block_size, self.batch_size) / tokens

    def corrected(self, tokens: int = VALIDATION_TOKENS) -> float:
        """Nats a character had all tokens been scored: the claim over its coverage."""
        return self.loss / self.coverage(tokens)


CLAIMS = (
    Claim("original baseline, SGD", 128, 64, 1.753),
    Claim('AdamW, warm-up, cosine: "24.2 % better"', 128, 64, 1.328),
    Claim('"ideal batch size 256"', 128, 256, 1.594),
    Claim('"scaling up the model"', 256, 128, 1.27),
    Claim('"sparse attention, best model"', 256, 256, 0.944),
)
