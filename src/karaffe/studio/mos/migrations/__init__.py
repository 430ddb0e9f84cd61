"""How a database of an older karaffe becomes one of this: one revision a file, in order."""
