"""Titles that a tokenizer may stumble over: written down, and drawn from all of Unicode."""

import random

NASTY = [
    "<eos> <pad> <unk>",
    "<eos>",
    "a<eos>b<pad>c<unk>d",
    "👩‍👩‍👧‍👦 🇯🇵 👍🏽 emoji",
    "東京で開催された会議（2024）",
    "e\u0301 is not é, a\u030a\u0323 neither",
    "zero\u200bwidth\u200djoiner\u2060and\ufeffmark",
    "tabs\tand\t\tmore\ttabs",
    "a newline\ninside\r\nand more",
    "  \u00a0 blanks  between   words".strip(),
    "…leading punctuation",
    "“typographic” ‘quotes’ – and — dashes…",
    "'s 've n't it's",
    "$1,000,000.00 for 100% of C++/C#?!",
    "العربية and עברית and हिन्दी",
    "\x00\x01\x7f control characters",
    "\U0010ffff\ufffd\ufffe",
    "Ġ Ċ ĉ Ä look like the byte alphabet",
    "a",
    "ﬁ ligature, Ⅻ, ①, ｆｕｌｌ",
    "UPPER lower TiTlE",
    "x" * 500,
]


def random_strings(count, seed):
    """Strings of any valid characters; titles have lost their outer blanks."""
    source = random.Random(seed)
    ranges = [
        (32, 127),
        (0, 256),
        (0x300, 0x370),
        (0x2000, 0x2070),
        (0x4E00, 0x9FFF),
        (0x1F300, 0x1FAFF),
        (0, 0x110000),
    ]

    def character():
        while True:
            code = source.randrange(*source.choice(ranges))
            if not 0xD800 <= code < 0xE000:
                return chr(code)

    return [text for _ in range(count) if (text := "".join(character() for _ in range(source.randrange(40))).strip())]
