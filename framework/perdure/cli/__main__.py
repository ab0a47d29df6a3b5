"""`python -m perdure.cli`: the command line where no script is installed."""

from perdure.cli import main

if __name__ == "__main__":
    main()
