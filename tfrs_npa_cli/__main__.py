"""`python -m tfrs_npa_cli` is the command `tfrs-npa`."""

import sys

from tfrs_npa_cli import main

sys.exit(main())
