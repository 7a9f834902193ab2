"""Rows of the sample jobs: one module for each kind of lesson, every row made on demand.

A maker takes a random generator and a range of row numbers and returns the columns of these rows.
The generator is seeded by job and chunk, so that the same rows come out at every start.
"""
