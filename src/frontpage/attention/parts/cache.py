"""KeyValueCache: keys and values of earlier tokens, all of them or a window."""

import torch
from torch import Tensor


class HeadCache:
    """What the cache of projected heads has a place for, whatever else it keeps."""

    newest_key: Tensor | None = None  # (B, Hkv, 1, ...) of the newest token, as far as an addition reads it


class KeyValueCache(HeadCache):
    """Keys and values (B, Hkv, S, D) of the tokens that later queries may see.

    Keeps all tokens, or with `window` the last `window` - 1 (the next one completes the window) and the first `sinks`.
    """

    def __init__(self, window: int | None = None, sinks: int = 0) -> None:
        self.window, self.sinks, self.seen = window, sinks, 0
        self.keys: Tensor | None = None
        self.values: Tensor | None = None
        self.places: Tensor | None = None  # (S,) positions of what is kept

    def __len__(self) -> int:
        """Tokens seen, kept or not."""
        return self.seen

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Add new tokens; the keys, values and positions (S,) of those kept before and the new ones."""
        time = keys.shape[2]
        places = torch.arange(self.seen, self.seen + time, device=keys.device)
        if self.keys is not None:
            keys, values = torch.cat((self.keys, keys), dim=2), torch.cat((self.values, values), dim=2)
            places = torch.cat((self.places, places))
        self.seen += time
        self.keys, self.values, self.places = keys, values, places
        if self.window is not None and self.seen > self.window - 1 + self.sinks:
            kept = (places < self.sinks) | (places > self.seen - self.window)
            self.keys, self.values, self.places = keys[:, :, kept], values[:, :, kept], places[kept]
        return keys, values, places

    def tokens_kept(self, length: int) -> int:
        """How many tokens it holds after `length`."""
        return length if self.window is None else min(length, self.window - 1 + self.sinks)
