"""Static HTML and text: captions, cells, plots, profiles, comparisons, progress.

Needs no widgets, so it also serves terminals and saved notebooks.
"""
