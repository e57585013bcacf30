"""`python -m distill`, where the command `distill` is not on the PATH."""

from distill.cli import main

if __name__ == "__main__":
    main()
