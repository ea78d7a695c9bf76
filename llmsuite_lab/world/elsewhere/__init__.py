"""What the course's skills are tried on away from home: word problems, encyclopedias and corpora of another author.

Their sentences share no run of words with what the varied skills are trained on (`world.leakage` says so), and they were written before the varied
training worlds. A small part of each is for validation; what is reported is the other part. Texts stand in the TOML files beside this one.
"""
