"""What users and agents want, decided on a state: each function returns a `Change`, or raises a `Refusal`.

A change of no events is an answer too: it was already so. Every stream that a decision read is expected to stand where
the view saw it, so that two who decide at once cannot both be right.
"""
