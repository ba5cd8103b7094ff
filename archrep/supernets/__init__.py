"""Supernets: networks that hold every candidate operation of a search space at once."""
