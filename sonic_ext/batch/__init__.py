"""Many videos with one command: rows of a file or of folders become jobs of one batch.

rows         what is to be made: CSV, JSON lines, folders crossed or paired
watching     a folder in which pairs of files appear
planning     rows against the queue: what is done, what is missing, what is wrong
processes    the processes that carry the jobs out
report       what came of it, as CSV, JSON and a page
"""
