"""Lets the command be started as a module."""

from ark_cli.main import main

main()
