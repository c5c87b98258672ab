"""Usage as the kernel accounts it: which files are read, how their text is understood, and the values.

Nothing of it is imported before the first reading: most commands read none.
"""
