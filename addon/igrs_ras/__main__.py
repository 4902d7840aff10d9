"""`python -m igrs_ras VERB`."""

import sys

from igrs_ras.cli import main

if __name__ == "__main__":
    sys.exit(main())
