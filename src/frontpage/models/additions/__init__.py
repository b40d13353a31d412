"""What may be added to a Decoder, one idea a file; the contract is addition.py."""
