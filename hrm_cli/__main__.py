"""Entry point of `python -m hrm_cli` and of the `hrm` command."""

import sys


def run() -> None:
    """Runs the `hrm` executable. Ctrl-C exits without a traceback, even while modules are still being imported."""
    try:
        from hrm_cli.cli.app import main
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(130)
    main()


if __name__ == "__main__":
    run()
