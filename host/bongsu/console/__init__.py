"""The control centre's screen: a process of its own beside the receiver (receiver/web.py starts it)."""
