"""`tfrs-npa forget`."""

from __future__ import annotations

import argparse

from tfrs_npa.cli.messages import import_tensorflow
from tfrs_npa.runs.run import Run

SUMMARY = "remove users from a run"
DESCRIPTION = """\
Removes users from a run: their ids, and their rows of the user table in all checkpoints. The model
then knows them no better than any unknown user; nothing changes for the others, unless users are in
buckets (--user-buckets): whoever shares a bucket with them is an unknown user too. An export of the
run is written again, and its earlier versions are removed. Prints what may still hold something of
the users. The run must not be training, and cannot be resumed afterwards.
"""
EPILOG = """\
examples:
  tfrs-npa forget --run runs/demo --user U13
  tfrs-npa forget --run runs/demo --user U13 --user U4413 --export exports/npa
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command."""
    parser.add_argument("--run", required=True, metavar="DIR", help="folder of the run")
    parser.add_argument(
        "--user",
        required=True,
        action="append",
        metavar="ID",
        dest="users",
        help="a user to remove; can be repeated",
    )
    parser.add_argument(
        "--export",
        action="append",
        default=[],
        metavar="FOLDER",
        dest="exports",
        help="an export of the run to write again, with the articles that it has; can be repeated",
    )


def run(options: argparse.Namespace) -> None:
    """Removes users from a run, and prints what may still hold something of them."""
    path = Run(options.run).path
    import_tensorflow()
    from tfrs_npa.runs.forget import forget_users, without_users
    from tfrs_npa.serving.refresh import export_again

    users = dict.fromkeys(options.users)
    # First the exports: while the run knows the users, the command can be given again.
    for folder in options.exports:
        model = without_users(Run(path).load_model(), users)
        print(f"{export_again(model, folder)} replaces all earlier versions")
    remains = forget_users(path, users)
    print(f"{path} has forgotten {', '.join(users)}. What may still hold something of them:")
    for phrase in remains:
        print(f"- {phrase}")
