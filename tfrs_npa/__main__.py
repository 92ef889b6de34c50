"""`python -m tfrs_npa` is the command `tfrs-npa`."""

import sys

from tfrs_npa.cli import main

sys.exit(main())
