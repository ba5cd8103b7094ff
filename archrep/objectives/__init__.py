"""Objectives: what a supernet is trained to do with images, with labels or without."""
