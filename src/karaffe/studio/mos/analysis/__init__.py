"""The figures of a study: plain functions on arrays, each by the formula of the clause that its docstring names.

Scores are float64 arrays ``(stimuli, raters)`` with NaN where a rater has not judged a stimulus.
"""
