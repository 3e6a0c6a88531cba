"""``python -m smarthdr_cli`` runs the command ``smarthdr``."""

from smarthdr_cli.cli.app import main

main()
