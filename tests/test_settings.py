"""Settings: what is read, and that nothing wrong passes for a default."""

import pickle
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bytewax_state.errors import ConfigError
from bytewax_state.settings import Settings, variables
from bytewax_state.storage.uri import open_storage


def test_the_defaults_need_no_environment() -> None:
    """They are the documented ones."""
    assert Settings().model_dump() == {
        "backend": "heap",
        "uri": str(Path.cwd() / ".bytewax-state/snapshots"),
        "dir": Path.cwd() / ".bytewax-state/work",
        "key_groups": 128,
        "memory": 256 << 20,
        "cache_entries": 100_000,
        "upload_threads": 4,
        "retain_snapshots": 3,
        "retain_for": timedelta(hours=1),
        "forget_sessions": None,
        "codec": "msgpack",
        "storage_options": {},
        "signing_key": None,
    }


ENVIRONMENT: dict[str, tuple[str, Any]] = {
    "backend": ("rocksdb", "rocksdb"),
    "uri": ("file:///data/snapshots", "file:///data/snapshots"),
    "dir": ("/data/work", Path("/data/work")),
    "key_groups": ("4096", 4096),
    "memory": ("1.5GiB", 3 << 29),
    "cache_entries": ("0", 0),
    "upload_threads": ("1", 1),
    "retain_snapshots": ("1", 1),
    "retain_for": ("90s", timedelta(seconds=90)),
    "forget_sessions": ("1d", timedelta(days=1)),
    "codec": ("pickle", "pickle"),
    "storage_options": ('{"auto_mkdir": true}', {"auto_mkdir": True}),
    "signing_key": ("a-key-of-a-test-job", SecretStr("a-key-of-a-test-job")),
}


def test_every_setting_has_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is read from the environment, and parsed."""
    assert set(ENVIRONMENT) == set(Settings.model_fields)
    for name, (text, _) in ENVIRONMENT.items():
        monkeypatch.setenv(f"BYTEWAX_STATE_{name.upper()}", text)
    assert Settings().model_dump() == {name: value for name, (_, value) in ENVIRONMENT.items()}


def test_a_keyword_goes_before_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code decides where it says something, the environment elsewhere."""
    monkeypatch.setenv("BYTEWAX_STATE_BACKEND", "rocksdb")
    monkeypatch.setenv("BYTEWAX_STATE_KEY_GROUPS", "64")
    settings = Settings(key_groups=8)
    assert (settings.backend, settings.key_groups) == ("rocksdb", 8)


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [
        ("2097152", 2 << 20),
        ("4MiB", 4 << 20),
        ("4 MB", 4_000_000),
        ("1024KiB", 1 << 20),
        ("1GiB", 1 << 30),
        ("1GB", 10**9),
        (3 << 20, 3 << 20),
    ],
)
def test_memory_takes_sizes(text: str | int, nbytes: int) -> None:
    """With binary and decimal units, or plain bytes."""
    assert Settings(memory=text).memory == nbytes


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("90s", timedelta(seconds=90)),
        ("10m", timedelta(minutes=10)),
        ("1h", timedelta(hours=1)),
        ("2d", timedelta(days=2)),
        ("0s", timedelta(0)),
        (timedelta(seconds=5), timedelta(seconds=5)),
    ],
)
def test_retention_takes_durations(text: str | timedelta, duration: timedelta) -> None:
    """With a unit always, as Bytewax's seconds and anyone's minutes look alike."""
    assert Settings(retain_for=text).retain_for == duration


@pytest.mark.parametrize("uri", ["none", "NONE", None])
def test_none_takes_no_snapshots(uri: str | None) -> None:
    """The word in the environment, `None` in code."""
    assert Settings(uri=uri).uri is None


WRONG: list[tuple[str, str]] = [
    ("backend", "rockdb"),
    ("backend", ""),
    ("uri", ""),
    ("dir", ""),
    ("key_groups", "0"),
    ("key_groups", "4097"),
    ("key_groups", "many"),
    ("memory", "256Mi"),
    ("memory", "-1GiB"),
    ("memory", "5"),
    ("memory", "9" * 400),
    ("cache_entries", "-1"),
    ("cache_entries", "1.5"),
    ("upload_threads", "0"),
    ("retain_snapshots", "0"),
    ("retain_for", "3600"),
    ("retain_for", "-1h"),
    ("retain_for", "9999999d"),
    ("codec", "json"),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_value_is_refused(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the variable, what was found and what is expected, whoever said it."""
    said = rf"BYTEWAX_STATE_{name.upper()}\)? is '{value}'; expected \S+"
    with pytest.raises(ConfigError, match=said):
        Settings(**{name: value})
    monkeypatch.setenv(f"BYTEWAX_STATE_{name.upper()}", value)
    with pytest.raises(ConfigError, match=said):
        Settings()


@pytest.mark.parametrize("value", ['{"secret": "hunter2"', '["hunter2"]', "hunter2"])
def test_wrong_storage_options_are_not_shown(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They may hold secrets, so neither the error nor its causes tell them."""
    monkeypatch.setenv("BYTEWAX_STATE_STORAGE_OPTIONS", value)
    with pytest.raises(ConfigError, match=r"BYTEWAX_STATE_STORAGE_OPTIONS.*JSON object") as caught:
        Settings()
    assert "hunter2" not in str(caught.getrepr(chain=True, style="value"))


def test_storage_options_are_not_in_the_repr() -> None:
    """Whoever logs the settings logs no secrets."""
    assert "hunter2" not in repr(Settings(storage_options={"secret": "hunter2"}))


def test_all_that_is_wrong_is_said_at_once() -> None:
    """One run tells everything that there is to fix."""
    with pytest.raises(ConfigError, match=r"KEY_GROUPS.*; .*CODEC"):
        Settings(key_groups=0, codec="json")


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("BYTEWAX_STATE_BAKEND", "BYTEWAX_STATE_BACKEND"),
        ("BYTEWAX_STATE_KEYGROUPS", "BYTEWAX_STATE_KEY_GROUPS"),
        ("BYTEWAX_STATE_RETAIN", "BYTEWAX_STATE_RETAIN_FOR"),
        ("bytewax_state_diri", "BYTEWAX_STATE_DIR"),
    ],
)
def test_a_misspelt_variable_is_refused(name: str, near: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would otherwise pass for the default; the nearest known name is told."""
    monkeypatch.setenv(name, "1")
    with pytest.raises(ConfigError, match=rf"^{name} is no setting; did you mean {near}\?$"):
        Settings()


KUBERNETES = {
    "SERVICE_HOST": "10.0.0.7",
    "SERVICE_PORT": "80",
    "SERVICE_PORT_HTTP_ALT": "8080",
    "PORT": "tcp://10.0.0.7:80",
    "PORT_80_TCP": "tcp://10.0.0.7:80",
    "PORT_80_TCP_PROTO": "tcp",
    "PORT_80_TCP_PORT": "80",
    "PORT_80_TCP_ADDR": "10.0.0.7",
    "PORT_53_UDP": "udp://10.0.0.7:53",
    "PORT_9_SCTP_ADDR": "10.0.0.7",
}
DOCKER = {
    "NAME": "/flow/state",
    "PORT": "tcp://172.17.0.5:80",
    "PORT_80_TCP_ADDR": "172.17.0.5",
    "ENV_PATH": "/usr/bin",
    "ENV_some.thing": "1",
}
OWNERS = ["BYTEWAX_STATE", "BYTEWAX_STATE_UI", "BYTEWAX_STATE_DIR", "BYTEWAX_STATE_SERVICE", "BYTEWAX_STATE_NAME"]


@pytest.mark.parametrize("owner", OWNERS)
@pytest.mark.parametrize("brought", [KUBERNETES, DOCKER], ids=["a Service", "a linked container"])
def test_what_others_bring_into_the_environment_is_no_setting(
    owner: str, brought: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever they are named; no setting is taken from there, and a typo beside it is still refused."""
    before = Settings()
    for name, value in brought.items():
        monkeypatch.setenv(f"{owner}_{name}", value)
    assert Settings() == before
    monkeypatch.setenv("BYTEWAX_STATE_BAKEND", "heap")
    with pytest.raises(
        ConfigError, match=r"^BYTEWAX_STATE_BAKEND is no setting; did you mean BYTEWAX_STATE_BACKEND\?$"
    ):
        Settings()


def test_the_port_of_a_service_is_enough_to_know_it_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """A manifest may clear some of what the cluster sets."""
    monkeypatch.setenv("BYTEWAX_STATE_PORT", "tcp://10.0.0.7:80")
    monkeypatch.setenv("BYTEWAX_STATE_SERVICE_PORT", "80")
    assert Settings().backend == "heap"


@pytest.mark.parametrize("name", ["PORT", "SERVICE_PORT", "NAME", "ENV_URI", "URI_PORT"])
def test_a_name_that_only_looks_like_that_of_others_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no Service and no link that would have brought it."""
    monkeypatch.setenv(f"BYTEWAX_STATE_{name}", "8080")
    with pytest.raises(ConfigError, match=rf"^BYTEWAX_STATE_{name} is no setting"):
        Settings()


def test_one_setting_with_two_values_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """In upper and in lower case: whichever came last in the environment would win."""
    monkeypatch.setenv("BYTEWAX_STATE_BACKEND", "heap")
    monkeypatch.setenv("bytewax_state_backend", "heap")
    assert Settings().backend == "heap"
    monkeypatch.setenv("bytewax_state_backend", "rocksdb")
    with pytest.raises(ConfigError, match="BYTEWAX_STATE_BACKEND and bytewax_state_backend are the same setting"):
        Settings()


PLACES = [
    ("uri", "data", "{cwd}/data"),
    ("uri", "./a:b", "{cwd}/a:b"),
    ("uri", "~/data", "{home}/data"),
    ("uri", "/data", "/data"),
    ("uri", "file://data", "file://{cwd}/data"),
    ("uri", "file://~/data", "file://{home}/data"),
    ("uri", "local://data", "local://{cwd}/data"),
    ("uri", "memory://data", "memory://data"),
    ("dir", "data", "{cwd}/data"),
    ("dir", "~", "{home}"),
    ("dir", "~/data", "{home}/data"),
]


@pytest.mark.parametrize("said_in", ["the environment", "code", "a path", "a copy"])
@pytest.mark.parametrize(("name", "text", "meant"), PLACES)
def test_a_place_is_absolute_once_it_is_read(
    name: str, text: str, meant: str, said_in: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever says it; a step that changes the working directory, or the home, changes nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    if said_in == "the environment":
        monkeypatch.setenv(f"BYTEWAX_STATE_{name.upper()}", text)
        settings = Settings()
    elif said_in == "a copy":
        settings = Settings().model_copy(update={name: text})
    else:
        settings = Settings(**{name: Path(text) if (said_in, name) == ("a path", "dir") else text})
    monkeypatch.chdir("/")
    monkeypatch.setenv("HOME", "/")
    for one in (settings, pickle.loads(pickle.dumps(settings)), settings.model_copy(update={"key_groups": 8})):
        assert str(getattr(one, name)) == meant.format(cwd=tmp_path, home=tmp_path / "home")


@pytest.mark.parametrize("uri", ["data", "file://data", "~/data"])
def test_what_the_settings_say_is_what_is_used(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And shown: by the settings as by the storage."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    said = Settings(uri=uri).uri
    assert said is not None
    monkeypatch.chdir("/")
    assert open_storage(said, {}, 1).url == f"file://{said.removeprefix('file://')}" == f"file://{tmp_path}/data"


@pytest.mark.parametrize("name", ["uri", "dir"])
@pytest.mark.parametrize(
    ("text", "home", "why"),
    [("~no_such_user/data", "/root", "~no_such_user has no home directory"), ("~/data", "", "HOME is empty")],
)
def test_a_home_that_is_not_there_is_refused(
    name: str, text: str, home: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of that name, or one in the root, is what nobody means."""
    monkeypatch.setenv("HOME", home)
    with pytest.raises(ConfigError, match=rf"is '{text}', and {why}; expected a folder"):
        Settings(**{name: text})


def test_a_working_directory_that_is_gone_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as it is needed."""
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    shutil.rmtree(tmp_path / "gone")
    with pytest.raises(
        ConfigError, match=r"URI is '.bytewax-state/snapshots', and there is no working directory \(.*\); "
    ):
        Settings()
    assert Settings(uri="/data/snapshots", dir="/data/work").dir == Path("/data/work")


def test_a_url_is_no_local_folder() -> None:
    """It would become one of that name."""
    with pytest.raises(ConfigError, match=r"\(BYTEWAX_STATE_DIR\) is 'file:///data', and that is a URL; expected"):
        Settings(dir="file:///data")


def test_a_copy_is_judged_as_the_settings_are() -> None:
    """What it does not change stays as it was, and stays what was set, or not."""
    settings = Settings(codec="pickle")
    copy = settings.model_copy(update={"memory": "4MiB"})
    assert (copy.memory, copy.codec, copy.model_fields_set) == (4 << 20, "pickle", {"codec", "memory"})
    with pytest.raises(ConfigError, match="retain_for"):
        settings.model_copy(update={"retain_for": "3600"})
    with pytest.raises(ConfigError, match=r"^Settings has no 'keygroups'"):
        settings.model_copy(update={"keygroups": 1})


def test_a_misspelt_keyword_is_refused() -> None:
    """As a variable is."""
    with pytest.raises(ConfigError, match=r"^Settings has no 'keygroups'; did you mean key_groups\?$"):
        Settings(keygroups=4)


def test_the_retention_follows_the_backup_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytewax may resume from as far back; what is set explicitly counts more."""
    monkeypatch.setenv("BYTEWAX_RECOVERY_BACKUP_INTERVAL", "600")
    assert Settings().retain_for == timedelta(minutes=10)
    assert "retain_for" not in Settings().model_fields_set
    assert Settings(retain_for="1d").retain_for == timedelta(days=1)


def test_a_wrong_backup_interval_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names Bytewax's variable, not ours."""
    monkeypatch.setenv("BYTEWAX_RECOVERY_BACKUP_INTERVAL", "10m")
    with pytest.raises(ConfigError, match=r"^BYTEWAX_RECOVERY_BACKUP_INTERVAL is '10m'; expected .* seconds"):
        Settings()


def test_settings_do_not_change() -> None:
    """A run is judged once, at its start."""
    with pytest.raises(ValueError, match="frozen"):
        Settings().key_groups = 4  # type: ignore[misc]


def test_variables_are_in_the_order_of_the_fields() -> None:
    """As the reference lists them."""
    assert variables()[:2] == ("BYTEWAX_STATE_BACKEND", "BYTEWAX_STATE_URI")
