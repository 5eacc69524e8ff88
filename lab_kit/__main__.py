"""``python -m lab_kit`` is the command ``lab-kit``."""

from lab_kit.cli import main

if __name__ == "__main__":
    main()
