"""The reference pages of the documentation, generated from what they describe: ``make reference``."""
