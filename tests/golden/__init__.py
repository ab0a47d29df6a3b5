"""Records as each release wrote them. What is here stays readable for ever, by every later release.

A file holds one value of the log: its bytes, and what they say. Nothing in `records/` is ever edited or removed. When a
record gets another form, its schema is superseded and not edited: give the sample in `samples.py` a new name, and write
the files that are missing:

    .venv/bin/python -m tests.golden.write

It never overwrites a file. (Until the first release, nothing is written for ever: delete a file to have it made anew.)

`histories/` holds what the programs of the replay harness recorded on each minor version of Python; see `histories.py`.

`logs/` holds whole logs, of a file and of Kafka, with runs in every state: `logs_program.py` is the app, and
`python -m tests.golden.logs_write` writes the ones that are missing. Name new ones in `logs.py` when the level is
raised. The file is of the format before rows had checksums, so that it is brought up to date when it is opened.
"""
