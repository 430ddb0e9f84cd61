"""Mean-opinion-score studies: from folders of pictures to a ranking with intervals.

A study is described by one YAML file (:mod:`.config`), kept whole in one database (:mod:`.database`), put to people
by a web server (:mod:`.server`) and turned into figures by :mod:`.analysis` and :mod:`.report`.
"""
