"""`python -m dragoman`: the command line."""

import sys

from dragoman.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
