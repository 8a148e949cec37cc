"""`python -m bongsu.cli`: the same as the command `bongsu`."""

from bongsu.cli.main import main

main()
