"""``python -m smarthdr_cli`` is the command ``smarthdr``."""

from smarthdr_cli.cli.app import main

main()
