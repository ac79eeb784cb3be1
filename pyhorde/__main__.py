"""``python -m pyhorde``: the same command as ``pyhorde``."""

from pyhorde.cli import main

if __name__ == "__main__":
    main()
