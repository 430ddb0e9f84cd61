"""The studio: a local page to enlarge pictures by several models and to look at what each made of them.

A picture that is dropped becomes a job of the visit that sent it (:mod:`.desk`), is worked on in a process of its own
(:mod:`.pool`, :mod:`.work`), and is shown while it is made (:mod:`.app`).
"""
