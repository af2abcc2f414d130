"""Command lines of tests."""

from ebm_cli.config.overrides import key_of


def last_of_each_key(words):
    """The words without overrides whose key a later word sets: tests change the keys of a common line."""
    keys = [key_of(word) if "=" in word and not word.startswith("-") else i for i, word in enumerate(words)]
    return [word for i, word in enumerate(words) if keys[i] not in keys[i + 1 :]]
