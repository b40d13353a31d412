"""What this computer is and can do: processor, GPUs, precision, memory, measured rates, the C++ compiler."""
