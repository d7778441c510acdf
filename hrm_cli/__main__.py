"""`python -m hrm_cli` is the `hrm` command."""

import sys


def run() -> None:
    """The `hrm` executable: Ctrl-C ends it without a traceback also while it is still being loaded."""
    try:
        from hrm_cli.cli.app import main
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(130)
    main()


if __name__ == "__main__":
    run()
