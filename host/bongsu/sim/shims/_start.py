"""Starts one virtual board: `_start.py <folder> <control fd> <trace fd>`; the configuration is <folder>/boot.json.

It makes no name of its own: with a REPL, its namespace is the one that boot.py, main.py and the user see.
"""

__import__("_boot").main(globals())
