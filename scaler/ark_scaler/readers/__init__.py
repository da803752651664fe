"""Reads of Redis that many callers share."""
