"""One page that shows every cell of a space on a map: a file that opens anywhere, offline.

embeddings, map, columns, searches -> `Content` -> packed arrays -> one HTML file

The page itself is in `page/`: markup, style sheet and scripts, readable as they stand; they are put
into the file as they are.
"""

from archrep.explorer.content import Content, gather
from archrep.explorer.page import render, write_page
from archrep.explorer.searches import Trajectories

__all__ = ["Content", "Trajectories", "gather", "render", "write_page"]
