"""Run the command line as `python -m omnibench`."""

from omnibench.cli import main

if __name__ == "__main__":
    main()
