"""``python -m aiocontainer`` is the command ``aiocontainer``."""

from .cli import main

if __name__ == "__main__":
    main()
