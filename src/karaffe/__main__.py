"""``python -m karaffe``."""

from karaffe.cli import main

if __name__ == "__main__":
    main()
