"""Sensor chips as their data sheets describe them, register by register, on buses that can fail."""
