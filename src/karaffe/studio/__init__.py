"""Web pages that karaffe serves to people."""
