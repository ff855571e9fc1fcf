"""`python -m tests.fuzz`; see program.py."""

import sys

from tests.fuzz.program import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["run"]))
