"""``python -m pyhorde.testing``: many bad days for a whole cluster, each from its seed."""

from pyhorde.testing.command import main

if __name__ == "__main__":
    main()
