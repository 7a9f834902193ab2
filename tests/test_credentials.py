"""Where URL and key come from: the SDK's order and its rule that the two are one pair."""

from __future__ import annotations

import errno
import json
import os
import pickle
import stat
import threading

import pytest

from sutro_magic.api import credentials
from sutro_magic.api.credentials import Secret, make_credentials, normalise_url, resolve, save_config
from sutro_magic.errors import ConfigurationError
from sutro_magic.magics.hints import in_magic_syntax

ACME = "https://acme.example"


@pytest.fixture
def config(tmp_path):
    path = tmp_path / ".sutro" / "config.json"
    path.parent.mkdir()

    def write(settings):
        path.write_text(settings if isinstance(settings, str) else json.dumps(settings))
        return path

    return write


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("https://h.example", "https://h.example/v1"),
        ("https://h.example/", "https://h.example/v1"),
        ("https://h.example/v1", "https://h.example/v1"),
        (" https://h.example/v1/ ", "https://h.example/v1"),
        ("HTTPS://H.example", "https://h.example/v1"),
        ("https://h.example:8443/v1", "https://h.example:8443/v1"),
        ("http://localhost:8000", "http://localhost:8000/v1"),
        ("http://127.9.9.9", "http://127.9.9.9/v1"),
        ("http://[::1]:9", "http://[::1]:9/v1"),
        ("https://api.sutro.sh", "https://api.sutro.sh"),
        ("https://eu.api.sutro.sh/", "https://eu.api.sutro.sh"),
    ],
)
def test_accepted_urls_become_the_base_of_the_routes(url, base):
    assert normalise_url(url) == base


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h.example",
        "ftp://h.example",
        "https://",
        "https://h.example/api",
        "https://h.example//v1",
        "https://h.example/V1",
        "https://u:p@h.example",
        "https://h.example?x=1",
        "https://h.example#x",
        "https://h.example:port",
        "http://0.0.0.0:8000",
        "http://localhost.",
        "http://host.docker.internal",
        "http://h.example",
    ],
)
def test_other_urls_are_refused_without_being_repeated(url):
    with pytest.raises(ConfigurationError) as caught:
        normalise_url(url)
    assert "u:p" not in str(caught.value)


def test_both_given_in_code_win_over_everything(config):
    path = config({"api_url": "https://file.example", "api_key": "sk_file"})
    environ = {"SUTRO_API_URL": "https://env.example", "SUTRO_API_KEY": "sk_env"}
    pair = resolve(ACME, "sk_code", environ=environ, config_path=path)
    assert (pair.base_url, pair.key) == (f"{ACME}/v1", Secret("sk_code"))


def test_a_key_given_alone_goes_to_the_environments_url_never_to_the_files(config):
    path = config({"api_url": "https://file.example", "api_key": "sk_file"})
    assert resolve(None, "sk_code", environ={}, config_path=path).base_url == credentials.DEFAULT_ORIGIN
    pair = resolve(None, "sk_code", environ={"SUTRO_API_URL": ACME}, config_path=path)
    assert pair.base_url == f"{ACME}/v1"


def test_a_url_given_alone_takes_the_ambient_key_only_of_the_same_deployment(config):
    path = config({"api_url": f"{ACME}/v1", "api_key": "sk_file"})
    assert resolve(f"{ACME}/", None, environ={}, config_path=path).key == Secret("sk_file")
    assert resolve("https://other.example", None, environ={}, config_path=path).key is None


@pytest.mark.parametrize("environ", [{"SUTRO_API_URL": ""}, {"SUTRO_API_KEY": ""}, {"SUTRO_API_URL": ACME}])
def test_one_environment_variable_even_empty_switches_the_file_off(config, environ):
    path = config({"api_url": "https://file.example", "api_key": "sk_file"})
    assert resolve(environ=environ, config_path=path).key is None


def test_the_file_is_read_when_nothing_else_is_set(config):
    path = config({"api_url": "", "base_url": ACME, "api_key": "sk_file"})
    pair = resolve(environ={}, config_path=path)
    assert (pair.base_url, pair.key) == (f"{ACME}/v1", Secret("sk_file"))


def test_a_key_alone_in_the_environment_goes_to_the_default_address(tmp_path):
    pair = resolve(environ={"SUTRO_API_KEY": "sk_env"}, config_path=tmp_path / "none")
    assert (pair.base_url, pair.key) == ("https://api.sutro.sh", Secret("sk_env"))


@pytest.mark.parametrize(("content", "key"), [("[1, 2]", None), ('{"api_key": 7}', None)])
def test_a_file_of_another_shape_counts_as_empty(config, content, key):
    assert resolve(environ={}, config_path=config(content)).key is key


def test_a_broken_file_is_named(config):
    with pytest.raises(ConfigurationError, match="not valid JSON"):
        resolve(environ={}, config_path=config("{"))


@pytest.mark.parametrize("key", ["sk a", "sk\nX-Header: 1", "sk_\u00e9"])
def test_a_key_that_would_break_a_header_is_refused_unseen(key):
    with pytest.raises(ConfigurationError) as caught:
        make_credentials(ACME, key, "a test")
    assert key not in str(caught.value)


def test_saving_keeps_other_settings_and_is_for_the_owner_only(config):
    path = config({"base_url": "https://old.example", "theme": "dark"})
    path.chmod(0o644)
    save_config(make_credentials(ACME, "sk_new", "a test"), path)
    assert json.loads(path.read_text()) == {"theme": "dark", "api_url": f"{ACME}/v1", "api_key": "sk_new"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [p.name for p in path.parent.iterdir()] == ["config.json"]
    assert resolve(environ={}, config_path=path).key == Secret("sk_new")


def test_a_file_that_others_can_read_is_closed_when_it_is_read(config):
    path = config({"api_url": ACME, "api_key": "sk_file"})
    path.chmod(0o644)
    path.parent.chmod(0o755)
    assert resolve(environ={}, config_path=path).key == Secret("sk_file")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text()) == {"api_url": ACME, "api_key": "sk_file"}


def test_reading_makes_nothing_and_what_code_or_environment_says_leaves_the_file_alone(config, tmp_path):
    missing = tmp_path / "nowhere" / "config.json"
    assert resolve(environ={}, config_path=missing).key is None
    assert not missing.parent.exists()
    path = config("{ not JSON")
    path.chmod(0o644)
    assert resolve(ACME, "sk_code", environ={}, config_path=path).key == Secret("sk_code")
    assert resolve(None, "sk_code", environ={}, config_path=path).key == Secret("sk_code")
    assert resolve(environ={"SUTRO_API_KEY": "sk_env"}, config_path=path).key == Secret("sk_env")
    assert stat.S_IMODE(path.stat().st_mode) == 0o644 and path.read_text() == "{ not JSON"


@pytest.mark.parametrize(
    ("settings", "base", "key"),
    [
        ({"api_url": f"{ACME}/v1", "api_key": " sk_f "}, f"{ACME}/v1", "sk_f"),
        ({"base_url": ACME, "api_key": "sk_f"}, f"{ACME}/v1", "sk_f"),
        ({"api_url": "  ", "base_url": ACME, "api_key": "sk_f"}, f"{ACME}/v1", "sk_f"),
        ({"api_url": ACME, "base_url": "https://old.example", "api_key": "sk_f"}, f"{ACME}/v1", "sk_f"),
        ({"api_url": ACME}, f"{ACME}/v1", None),
        ({"api_key": "sk_f"}, credentials.DEFAULT_ORIGIN, "sk_f"),
        ({"api_url": None, "api_key": ["sk_f"]}, credentials.DEFAULT_ORIGIN, None),
    ],
)
def test_what_the_file_may_hold(config, settings, base, key):
    pair = resolve(environ={}, config_path=config(settings))
    assert (pair.base_url, pair.key) == (base, key and Secret(key))


def test_a_wrong_url_in_the_file_is_said_at_the_first_request_not_at_the_start(private_home):
    from sutro_magic import Session

    (private_home / ".sutro").mkdir()
    (private_home / ".sutro" / "config.json").write_text('{"api_url": "ftp://x", "api_key": "sk_f"}')
    session = Session()
    with pytest.raises(ConfigurationError, match="must be absolute"):
        session.jobs()


@pytest.mark.parametrize("content", ["[" * 200_000, '{"api_key": "\xff"}'.encode("latin-1"), "{"])
def test_a_file_that_cannot_be_read_as_json_is_named_and_can_be_written_anew(config, content):
    path = config("")
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigurationError, match="not valid JSON") as caught:
        resolve(environ={}, config_path=path)
    assert "save_config(Session(api_url=" in caught.value.hint
    caught.value.render_with(in_magic_syntax)
    assert "%sutro_login --save" in caught.value.hint
    save_config(make_credentials(ACME, "sk_new", "a test"), path)
    assert resolve(environ={}, config_path=path).key == Secret("sk_new")


def test_a_key_in_the_file_never_becomes_the_key_of_another_deployment(config):
    path = config({"api_url": f"{ACME}/v1", "api_key": "sk_acme", "theme": "dark"})
    save_config(make_credentials(f"{ACME}/", None, "a test"), path)
    assert json.loads(path.read_text())["api_key"] == "sk_acme", "the same deployment"
    save_config(make_credentials("https://other.example", None, "a test"), path)
    assert json.loads(path.read_text()) == {"api_url": "https://other.example/v1", "theme": "dark"}


@pytest.mark.parametrize("mask", [0o000, 0o077])
def test_saving_where_nothing_is_makes_a_private_folder_and_file_whatever_the_umask(tmp_path, mask):
    path = tmp_path / "home" / ".sutro" / "config.json"
    path.parent.parent.mkdir()
    before = os.umask(mask)
    try:
        save_config(make_credentials(ACME, "sk_new", "a test"), path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_saving_that_fails_in_the_middle_leaves_the_earlier_file_whole(config, monkeypatch):
    path = config({"api_url": ACME, "api_key": "sk_old"})

    def fail(_handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(credentials.os, "fsync", fail)
    with pytest.raises(ConfigurationError, match="No space left"):
        save_config(make_credentials(ACME, "sk_new", "a test"), path)
    assert json.loads(path.read_text())["api_key"] == "sk_old"
    assert [p.name for p in path.parent.iterdir()] == ["config.json"]


def test_who_reads_while_others_save_sees_a_whole_file(config):
    path = config({"api_url": ACME, "api_key": "sk_0"})
    stop, seen = threading.Event(), set()

    def read():
        while not stop.is_set():
            seen.add(resolve(environ={}, config_path=path).key is not None)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(50):
        save_config(make_credentials(ACME, f"sk_{number}", "a test"), path)
    stop.set()
    reader.join()
    assert seen == {True}


def test_identities_differ_by_deployment_and_by_key():
    pairs = [(ACME, "sk_a"), (ACME, "sk_b"), ("https://other.example", "sk_a")]
    assert len({make_credentials(*pair, "a test").identity for pair in pairs}) == 3


def test_a_secret_shows_nowhere_and_cannot_be_written():
    pair = make_credentials(ACME, "sk_hidden", "a test")
    assert "sk_hidden" not in f"{pair!r} {pair} {pair.key} {pair.key!r} {vars(pair)}"
    with pytest.raises(TypeError):
        pickle.dumps(pair.key)
