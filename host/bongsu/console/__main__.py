"""python -m bongsu.console FD: the web process; receiver/web.py starts it."""

import sys

from bongsu.console.process import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
