"""Searchers: from a trained supernet to a cell, by scores of paths or by architecture weights."""
