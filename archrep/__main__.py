"""`python -m archrep`, which is also how torchrun starts several processes of a command."""

import sys

from archrep.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
