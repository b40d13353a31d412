"""The metrics: nats a token, nats a character, bits a byte, over every token once; and the original's, beside them."""
