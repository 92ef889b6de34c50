"""Searches hyper-parameters: `tfrs-npa tune` as a script, with the same options.

python tuning/search.py --data mind/synthetic --space tuning/spaces/demo.yaml --run runs/search
"""

import sys

from tfrs_npa.cli import main

if __name__ == "__main__":
    sys.exit(main(["tune", *sys.argv[1:]]))
