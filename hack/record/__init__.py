"""Recordings of programs in a terminal, for the README and the documentation: ``make record NAME=demo``."""
