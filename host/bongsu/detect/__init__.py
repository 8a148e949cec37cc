"""Recordings through the very firmware code: what a node would have decided, when and why; and plots of it."""
