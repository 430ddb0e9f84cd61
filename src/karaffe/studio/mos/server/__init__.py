"""The web server of a study: pages for raters, a page for who runs it."""
