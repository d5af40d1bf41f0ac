"""`python -m realtime`."""

from realtime.cli import main


main()
