"""A virtual board behind a serial port, as a real one has it: its ROM loader, its resets, its REPL."""
