"""`python -m hrm_cli` is the `hrm` command."""

from hrm_cli.cli.app import main

if __name__ == "__main__":
    main()
