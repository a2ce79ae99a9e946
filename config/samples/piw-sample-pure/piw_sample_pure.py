"""A pure package: one wheel of it serves every Python 3."""


def hello():
    return "built by piw"
