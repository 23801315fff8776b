"""`python -m chatq` is the command `chatq`."""

from chatq.cli import main

main()
