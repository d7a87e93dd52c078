"""python -m bench: see `bench.benchmark`."""

import sys

from bench.benchmark import main

main(sys.argv[1:])
