"""What heads may do beside mixing values, one idea a file; the contract is parts/head_addition.py."""
