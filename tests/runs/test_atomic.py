"""Files that are written completely or not at all."""

import pytest

from ebm_cli.io.atomic import replacing


def test_the_old_content_stays_until_the_new_one_is_complete(tmp_path):
    path = tmp_path / "drawn.csv"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(path) as file:  # noqa: PT012
        file.write(b"new")
        file.flush()
        assert path.read_text() == "old"
        raise ZeroDivisionError
    assert path.read_text() == "old"
    with replacing(path) as file:
        file.write(b"new")
    assert path.read_text() == "new"
    assert not list(tmp_path.glob(".*"))
