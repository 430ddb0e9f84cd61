"""Names that other frameworks look up; each module imports its framework only when it is used."""
