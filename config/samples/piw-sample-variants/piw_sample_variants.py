"""A pure package whose wheel has a build tag."""


def hello():
    return "built by piw"
